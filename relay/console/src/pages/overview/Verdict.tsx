/** One line about everything, and what needs a person. */
import { Anchor, Text } from '@mantine/core';
import { IconAlertTriangle, IconCircleCheck, IconEye } from '@tabler/icons-react';
import { Link } from 'react-router';
import type { SyncStatus } from '../../api/schema';
import { Panel } from '../../parts/Panel';
import { verdict, type Attention } from './attention';
import classes from './Verdict.module.css';

type Props = { syncs: SyncStatus[]; attentions: Attention[] };

export function Verdict({ syncs, attentions }: Props) {
  const isBad = attentions.some((one) => one.level === 'bad');
  const level = isBad ? 'bad' : attentions.length > 0 ? 'care' : 'well';
  const Icon = { bad: IconAlertTriangle, care: IconEye, well: IconCircleCheck }[level];
  return (
    <Panel className={classes[level]}>
      <div className={classes.line} role="status">
        <Icon size={26} aria-hidden />
        <Text fw={650} size="lg">
          {verdict(syncs, attentions)}
        </Text>
      </div>
      {attentions.length > 0 && (
        <ul className={classes.list}>
          {attentions.map((one) => (
            <li key={`${one.about} ${one.what}`} className={classes[`is-${one.level}`]}>
              <Anchor component={Link} to={one.to} fw={600}>
                {one.about}
              </Anchor>{' '}
              {one.what}
              {one.detail && (
                <Text size="sm" c="dimmed" className={classes.detail}>
                  {one.detail}
                </Text>
              )}
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}
