/** Conflicts that wait for a pick, both values side by side. */
import { Button, Group, Text } from '@mantine/core';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { api, told } from '../../api/client';
import type { ConflictReport, PickedSide, SyncStatus } from '../../api/schema';
import { Section } from '../../parts/Page';
import { Panel } from '../../parts/Panel';
import { ProblemNote } from '../../parts/ProblemNote';
import { Told } from '../../parts/Told';
import { When } from '../../parts/When';
import { useMay } from '../entrance/Gate';
import { conflicts as conflictsQuery, useOrder } from './about';
import classes from './Sync.module.css';

export function Conflicts({ sync }: { sync: SyncStatus }) {
  const found = useQuery({ ...conflictsQuery(sync.name, sync.asked), enabled: sync.asked > 0 });
  if (sync.asked === 0) return null;
  return (
    <Section title="Conflicts to pick">
      <Told query={found}>
        {(list) => (
          <div className={classes.list}>
            {list.map((conflict) => (
              <Pick key={conflict.id} sync={sync} conflict={conflict} />
            ))}
          </div>
        )}
      </Told>
    </Section>
  );
}

function Pick({ sync, conflict }: { sync: SyncStatus; conflict: ConflictReport }) {
  const queries = useQueryClient();
  const mayPick = useMay('editor');
  const path = { name: sync.name, id: conflict.id };
  const pick = (side: PickedSide) => async () => {
    const body = { side };
    await told(api.POST('/api/v1/syncs/{name}/conflicts/{id}/pick', { params: { path }, body }));
    await queries.invalidateQueries({ queryKey: ['conflicts', sync.name] });
    return undefined;
  };
  const left = useOrder(pick('left'));
  const right = useOrder(pick('right'));
  const field = conflict.left_field ?? conflict.right_field;
  const isBusy = left.isPending || right.isPending;
  return (
    <Panel>
      <Group justify="space-between" mb="xs">
        <Text fw={600}>
          {conflict.left_key ?? conflict.right_key} in {conflict.table}
          {field ? `: ${field}` : ': changed here, deleted there'}
        </Text>
        <Text size="sm" c="dimmed">
          <When at={conflict.at} />
        </Text>
      </Group>
      <div className={classes.sides}>
        {(
          [
            ['left', sync.left, conflict.left, left],
            ['right', sync.right, conflict.right, right],
          ] as const
        ).map(([side, name, value, order]) => (
          <div key={side}>
            <Text size="xs" c="dimmed">
              {name}
            </Text>
            <div className={classes.value}>{value ?? (field ? '(empty)' : '(deleted)')}</div>
            {mayPick && (
              <Button
                mt={6}
                size="compact-sm"
                variant="default"
                disabled={isBusy}
                loading={order.isPending}
                onClick={() => order.mutate()}
              >
                Keep what {name} has
              </Button>
            )}
          </div>
        ))}
      </div>
      {left.isError && <ProblemNote thrown={left.error} />}
      {right.isError && <ProblemNote thrown={right.error} />}
    </Panel>
  );
}
