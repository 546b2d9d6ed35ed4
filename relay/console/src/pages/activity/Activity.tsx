/** Changes as they cross, with how long each took. No values: those are in each sync's history. */
import { Anchor, Button, Group, Select, Table, Text } from '@mantine/core';
import { IconActivity, IconPlayerPause, IconPlayerPlay } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { Link } from 'react-router';
import type { Crossed } from '../../api/feed';
import { useFeed } from '../../api/live';
import { syncs as syncsQuery } from '../../api/queries';
import type { SyncStatus } from '../../api/schema';
import { Figure, Figures } from '../../parts/Figure';
import { Nothing } from '../../parts/Nothing';
import { Page } from '../../parts/Page';
import { Panel } from '../../parts/Panel';
import { When } from '../../parts/When';
import { VERDICT, counted, many, span } from '../../parts/words';
import { latencies } from './latencies';
import classes from './Activity.module.css';

const DONE: Record<string, string> = { create: 'created', update: 'updated', delete: 'deleted' };
/** Rows that are shown; the figures are of all that are kept. */
const SHOWN_MAX = 200;

export default function Activity() {
  const feed = useFeed();
  const syncs = useQuery(syncsQuery);
  const [only, setOnly] = useState<string | null>(null);
  const [held, setHeld] = useState<readonly Crossed[]>();
  const all = held ?? feed.changes;
  const changes = only === null ? all : all.filter((one) => one.sync === only);
  return (
    <Page
      title="Activity"
      about="Changes as they cross, since this page was opened. What was before is in each sync’s history."
      actions={
        <Group gap="xs">
          <Select
            aria-label="Of which sync"
            placeholder="Of all syncs"
            data={syncs.data?.map((sync) => sync.name) ?? []}
            value={only}
            onChange={setOnly}
            clearable
          />
          <Button
            variant="default"
            leftSection={
              held ? (
                <IconPlayerPlay size={16} aria-hidden />
              ) : (
                <IconPlayerPause size={16} aria-hidden />
              )
            }
            onClick={() => setHeld(held ? undefined : feed.changes)}
          >
            {held ? 'Go on' : 'Hold'}
          </Button>
        </Group>
      }
    >
      {changes.length === 0 ? (
        <Nothing icon={<IconActivity />} title="Nothing has crossed yet">
          As soon as a record changes on either side, it is here.
        </Nothing>
      ) : (
        <>
          <Panel>
            <Speed changes={changes} lost={feed.lost} />
          </Panel>
          <Panel flush className={classes.scroll}>
            <Table>
              <Table.Thead>
                <Table.Tr>
                  <Table.Th>When</Table.Th>
                  <Table.Th>Record</Table.Th>
                  <Table.Th>What</Table.Th>
                  <Table.Th>Fields</Table.Th>
                  <Table.Th>Took</Table.Th>
                </Table.Tr>
              </Table.Thead>
              <Table.Tbody>
                {changes.slice(0, SHOWN_MAX).map((change) => (
                  <Row
                    key={change.id}
                    change={change}
                    sync={syncs.data?.find((one) => one.name === change.sync)}
                  />
                ))}
              </Table.Tbody>
            </Table>
          </Panel>
          {changes.length > SHOWN_MAX && (
            <Text size="sm" c="dimmed">
              The last {counted(SHOWN_MAX)} of {many(changes.length, 'change')}.
            </Text>
          )}
        </>
      )}
    </Page>
  );
}

function Speed({ changes, lost }: { changes: readonly Crossed[]; lost: number }) {
  const { half, most, slowest } = latencies(changes);
  const told = (ms: number | undefined) => (ms === undefined ? '–' : span(ms));
  return (
    <Figures>
      <Figure name="Changes">{counted(changes.length)}</Figure>
      <Figure name="Half took at most">{told(half)}</Figure>
      <Figure name="95 % took at most">{told(most)}</Figure>
      <Figure name="The slowest">{told(slowest)}</Figure>
      <Figure name="Not told here" tone={lost > 0 ? 'care' : undefined}>
        {counted(lost)}
      </Figure>
    </Figures>
  );
}

function Row({ change, sync }: { change: Crossed; sync: SyncStatus | undefined }) {
  const where = change.side === 'left' ? sync?.left : sync?.right;
  const fields = change.fields.filter((field) => field !== VERDICT);
  const history = `/syncs/${encodeURIComponent(change.sync)}?key=${encodeURIComponent(change.key)}`;
  return (
    <Table.Tr>
      <Table.Td>
        <When at={new Date(change.at).toISOString()} />
      </Table.Td>
      <Table.Td>
        <Anchor component={Link} to={history} size="sm" underline="always">
          {change.key}
        </Anchor>{' '}
        in {change.table}
      </Table.Td>
      <Table.Td>
        {DONE[change.kind] ?? change.kind} in {where ?? change.side}
      </Table.Td>
      <Table.Td>{fields.join(', ')}</Table.Td>
      <Table.Td className="tabular">
        {change.latency_ms == null ? '–' : span(change.latency_ms)}
      </Table.Td>
    </Table.Tr>
  );
}
