/** In which state a sync or an agent is: by word, sign and colour, never by colour alone. */
import {
  IconAlertTriangle,
  IconBroadcast,
  IconCircleCheck,
  IconCopy,
  IconHourglass,
  IconMail,
  IconPlayerPause,
  IconPlugConnectedX,
  IconProgress,
  IconBan,
} from '@tabler/icons-react';
import type { ComponentType } from 'react';
import classes from './State.module.css';

type Tone = 'well' | 'care' | 'bad' | 'busy' | 'calm';
type Look = { word: string; tone: Tone; icon: ComponentType<{ size?: number }> };

const LOOKS: Record<string, Look> = {
  live: { word: 'Live', tone: 'well', icon: IconCircleCheck },
  copying: { word: 'Copying', tone: 'busy', icon: IconCopy },
  planning: { word: 'Planning', tone: 'busy', icon: IconProgress },
  paused: { word: 'Paused', tone: 'calm', icon: IconPlayerPause },
  waiting: { word: 'Waiting', tone: 'care', icon: IconHourglass },
  failed: { word: 'Failed', tone: 'bad', icon: IconAlertTriangle },
  online: { word: 'Online', tone: 'well', icon: IconBroadcast },
  offline: { word: 'Offline', tone: 'bad', icon: IconPlugConnectedX },
  invited: { word: 'Invited', tone: 'busy', icon: IconMail },
  revoked: { word: 'Revoked', tone: 'calm', icon: IconBan },
};

export function State({ state }: { state: string }) {
  const look = LOOKS[state] ?? { word: state, tone: 'calm' as const, icon: IconProgress };
  const Icon = look.icon;
  return (
    <span className={`${classes.state} ${classes[look.tone]}`}>
      <Icon size={16} aria-hidden />
      {look.word}
    </span>
  );
}
