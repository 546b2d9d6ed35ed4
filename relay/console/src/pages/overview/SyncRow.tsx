/** One sync of the overview: how it goes, in one line. */
import { Anchor, Progress, Text } from '@mantine/core';
import { IconArrowsLeftRight } from '@tabler/icons-react';
import { Link } from 'react-router';
import { useThroughput } from '../../api/live';
import type { SyncStatus } from '../../api/schema';
import { Panel } from '../../parts/Panel';
import { Spark } from '../../parts/Spark';
import { State } from '../../parts/State';
import { When } from '../../parts/When';
import { counted, many, span } from '../../parts/words';
import { Figure } from '../../parts/Figure';
import type { Leg } from './legs';
import { room } from './runway';
import classes from '../../parts/Row.module.css';

type Props = { sync: SyncStatus; leg?: Leg | undefined };

export function SyncRow({ sync, leg }: Props) {
  const moments = useThroughput(sync.name);
  const runway = room(sync.slots ?? []);
  return (
    <Panel className={classes.row}>
      <div className={classes.head}>
        <div className={classes.name}>
          <Anchor
            component={Link}
            to={`/syncs/${encodeURIComponent(sync.name)}`}
            fw={650}
            size="md"
          >
            {sync.name}
          </Anchor>
          <Text size="sm" c="dimmed" className={classes.sides}>
            {sync.left} <IconArrowsLeftRight size={14} aria-label="with" /> {sync.right}
          </Text>
          {leg && (
            <Text size="sm" className={classes.broken}>
              Broken between {leg.between}
            </Text>
          )}
        </div>
        <State state={sync.state} />
      </div>
      {sync.state === 'copying' && <Copying sync={sync} />}
      <dl className={classes.figures}>
        <Figure name="Lag">{sync.lag_ms == null ? '–' : span(sync.lag_ms)}</Figure>
        <Figure name="Findings" tone={sync.findings > 0 ? 'care' : undefined}>
          {counted(sync.findings)}
        </Figure>
        <Figure name="Conflicts to pick" tone={sync.asked > 0 ? 'care' : undefined}>
          {counted(sync.asked)}
        </Figure>
        <Figure name="Last verify" tone={sync.verified?.equal === false ? 'bad' : undefined}>
          {sync.verified ? <Verified verified={sync.verified} /> : 'never'}
        </Figure>
        <Figure name="Slot runway" tone={runway.tone}>
          {runway.words}
        </Figure>
        <Figure name="Last 5 minutes" wide>
          <Spark moments={moments} label={`Crossed in ${sync.name} in the last 5 minutes`} />
        </Figure>
      </dl>
    </Panel>
  );
}

function Verified({ verified }: { verified: NonNullable<SyncStatus['verified']> }) {
  const word = verified.equal ? 'equal' : many(verified.difference_count, 'difference');
  return (
    <>
      {word}, <When at={verified.at} />
    </>
  );
}

function Copying({ sync }: { sync: SyncStatus }) {
  const copied = sync.tables.reduce((sum, table) => sum + table.copied, 0);
  const total = sync.tables.reduce((sum, table) => sum + table.total, 0);
  const percent = total > 0 ? (100 * copied) / total : 0;
  return (
    <div>
      <Progress value={percent} aria-label={`Copied in ${sync.name}`} animated />
      <Text size="xs" c="dimmed" mt={4} className="tabular">
        {counted(copied)} of {many(total, 'record')}
      </Text>
    </div>
  );
}
