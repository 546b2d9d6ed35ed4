/** Conflicts that wait for a pick, those of one field together. */
import { Button, Group, Text } from '@mantine/core';
import { useInfiniteQuery } from '@tanstack/react-query';
import { useState } from 'react';
import type { SyncStatus } from '../../api/schema';
import { InPages } from '../../parts/InPages';
import { Panel } from '../../parts/Panel';
import { useMay } from '../entrance/Gate';
import { conflicts as conflictsQuery } from './about';
import { ConflictCard } from './ConflictCard';
import { grouped, newest, type Group as Kind } from './groups';
import { PickAll } from './PickAll';
import classes from './Inbox.module.css';

/** `only`: of this sync alone. */
export function Conflicts({ syncs, only }: { syncs: SyncStatus[]; only: string | null }) {
  const asked = syncs
    .filter((sync) => only === null || sync.name === only)
    .reduce((sum, sync) => sum + sync.asked, 0);
  const found = useInfiniteQuery(conflictsQuery(only, asked));
  return (
    <InPages query={found}>
      {(list) =>
        grouped(list).map((kind) => (
          <KindOf
            key={`${kind.sync} ${kind.table} ${kind.field}`}
            kind={kind}
            upto={newest(list)}
            sync={syncs.find((one) => one.name === kind.sync)}
          />
        ))
      }
    </InPages>
  );
}

type KindProps = { kind: Kind; upto: number; sync: SyncStatus | undefined };

function KindOf({ kind, upto, sync }: KindProps) {
  const mayPick = useMay('editor');
  const [side, setSide] = useState<'left' | 'right'>();
  const sides: [string, string] = [sync?.left ?? 'left', sync?.right ?? 'right'];
  return (
    <Panel className={classes.kind}>
      <Group justify="space-between" gap="xs">
        <div>
          <Text fw={650}>
            {kind.table}
            {kind.field === null ? ': changed here, deleted there' : `.${kind.field}`}
          </Text>
          <Text size="sm" c="dimmed">
            {kind.sync}
          </Text>
        </div>
        {mayPick && kind.conflicts.length > 1 && (
          <Group gap="xs">
            <Text size="sm" c="dimmed">
              In all of these keep
            </Text>
            {(['left', 'right'] as const).map((one, at) => (
              <Button
                key={one}
                size="compact-sm"
                variant="default"
                aria-label={`Keep ${sides[at]} in all conflicts about ${kind.field ?? 'deletions'}`}
                onClick={() => setSide(one)}
              >
                {sides[at]}
              </Button>
            ))}
          </Group>
        )}
      </Group>
      {kind.conflicts.map((conflict) => (
        <ConflictCard key={conflict.id} conflict={conflict} sides={sides} />
      ))}
      {side && (
        <PickAll
          kind={kind}
          side={side}
          upto={upto}
          name={side === 'left' ? sides[0] : sides[1]}
          onClose={() => setSide(undefined)}
        />
      )}
    </Panel>
  );
}
