/** What each run wrote, and putting it back: planned first, done only where nothing changed since. */
import { Alert, Button, Modal, SegmentedControl, Stack, Table, Text } from '@mantine/core';
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { api, told } from '../../api/client';
import { syncs as syncsQuery } from '../../api/queries';
import type { RunReport, SyncStatus, UndoPlan, Writes } from '../../api/schema';
import { Section } from '../../parts/Page';
import { InPages } from '../../parts/InPages';
import { Panel } from '../../parts/Panel';
import { ProblemNote, sentence } from '../../parts/ProblemNote';
import { Told } from '../../parts/Told';
import { When } from '../../parts/When';
import { many } from '../../parts/words';
import { useMay } from '../entrance/Gate';
import { runs as runsQuery } from './about';

export function Runs({ sync }: { sync: SyncStatus }) {
  const mayUndo = useMay('editor');
  const found = useInfiniteQuery(runsQuery(sync.name));
  const [chosen, setChosen] = useState<RunReport>();
  return (
    <Section title="Runs">
      <InPages query={found}>
        {(list) =>
          list.length === 0 ? (
            <Text size="sm" c="dimmed">
              No run has written anything yet.
            </Text>
          ) : (
            <Panel flush>
              <Table>
                <Table.Thead>
                  <Table.Tr>
                    <Table.Th>Run</Table.Th>
                    <Table.Th>Last write</Table.Th>
                    <Table.Th>In {sync.left}</Table.Th>
                    <Table.Th>In {sync.right}</Table.Th>
                    <Table.Th>Undo</Table.Th>
                  </Table.Tr>
                </Table.Thead>
                <Table.Tbody>
                  {list.map((run) => (
                    <Table.Tr key={run.run}>
                      <Table.Td>{run.run}</Table.Td>
                      <Table.Td>
                        <When at={run.to} />
                      </Table.Td>
                      <Table.Td>{written(run.left)}</Table.Td>
                      <Table.Td>{written(run.right)}</Table.Td>
                      <Table.Td>
                        {mayUndo && (
                          <Button
                            size="compact-sm"
                            variant="default"
                            aria-label={`Undo run ${run.run}`}
                            onClick={() => setChosen(run)}
                          >
                            Undo…
                          </Button>
                        )}
                      </Table.Td>
                    </Table.Tr>
                  ))}
                </Table.Tbody>
              </Table>
            </Panel>
          )
        }
      </InPages>
      {chosen && <Undo sync={sync} run={chosen} onClose={() => setChosen(undefined)} />}
    </Section>
  );
}

function written({ creates, updates, deletes }: Writes): string {
  const parts = [
    creates > 0 && `${many(creates, 'record')} created`,
    updates > 0 && `${many(updates, 'record')} updated`,
    deletes > 0 && `${many(deletes, 'record')} deleted`,
  ];
  return parts.filter(Boolean).join(', ') || 'nothing';
}

type UndoProps = { sync: SyncStatus; run: RunReport; onClose: () => void };

function Undo({ sync, run, onClose }: UndoProps) {
  const queries = useQueryClient();
  const [side, setSide] = useState('right');
  const nothing = { key: null, since: null, table: null, until: null };
  const filter = { ...nothing, run: `${run.run}`, side };
  const params = { path: { name: sync.name } };
  const plan = useQuery({
    queryKey: ['undo', sync.name, filter],
    queryFn: () => told(api.POST('/api/v1/syncs/{name}/undo/plan', { params, body: filter })),
    staleTime: 0,
    gcTime: 0,
  });
  const undo = useMutation({
    mutationFn: (expected: UndoPlan) =>
      told(api.POST('/api/v1/syncs/{name}/undo', { params, body: { filter, expected } })),
    onSuccess: () => {
      void queries.invalidateQueries({ queryKey: syncsQuery.queryKey });
      void queries.invalidateQueries({ queryKey: ['runs', sync.name] });
      void queries.invalidateQueries({ queryKey: ['history', sync.name] });
    },
  });
  return (
    <Modal opened onClose={onClose} title={`Undo run ${run.run}`} size="lg">
      <Stack gap="md">
        <SegmentedControl
          aria-label="On which side"
          data={[
            { value: 'left', label: `In ${sync.left}` },
            { value: 'right', label: `In ${sync.right}` },
          ]}
          value={side}
          onChange={setSide}
          disabled={undo.isSuccess}
        />
        {undo.isSuccess ? (
          <Alert color="green" role="status" title="Put back">
            {sentence(written(undo.data.done))} The other side follows.
          </Alert>
        ) : (
          <Told query={plan}>{(known) => <Planned plan={known} />}</Told>
        )}
        {undo.isError && <ProblemNote thrown={undo.error} title="Nothing was put back" />}
        {undo.isSuccess ? (
          <Button onClick={onClose}>Done</Button>
        ) : (
          <Button
            color="red.9"
            loading={undo.isPending}
            disabled={!plan.data || plan.data.writes === 0}
            onClick={() => plan.data && undo.mutate(plan.data)}
          >
            Put it back
          </Button>
        )}
      </Stack>
    </Modal>
  );
}

function Planned({ plan }: { plan: UndoPlan }) {
  if (plan.writes === 0) return <Text>There is nothing to put back on this side.</Text>;
  return (
    <Stack gap="xs">
      {plan.tables.map((table) => (
        <div key={table.table}>
          <Text fw={600}>{table.table}</Text>
          <Text size="sm">{sentence(written(table.puts_back))}</Text>
          <Text size="sm" c="dimmed">
            Then in {table.counterpart}: {written(table.then)}.
          </Text>
          {table.reasons.map((one) => (
            <Text size="sm" key={one.reason}>
              {many(one.count, 'record')} can’t be put back: {one.reason}.
            </Text>
          ))}
        </div>
      ))}
    </Stack>
  );
}
