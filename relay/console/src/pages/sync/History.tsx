/** What was written, where and why; of one record when its key is given. */
import { Table, Text, TextInput } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { IconSearch } from '@tabler/icons-react';
import { useInfiniteQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { useSearchParams } from 'react-router';
import type { HistoryEntry, SyncStatus } from '../../api/schema';
import { Section } from '../../parts/Page';
import { InPages } from '../../parts/InPages';
import { Panel } from '../../parts/Panel';
import { When } from '../../parts/When';
import { VERDICT } from '../../parts/words';
import { history as historyQuery } from './about';

const TYPING_MS = 400;
const DONE: Record<string, string> = { create: 'created', update: 'updated', delete: 'deleted' };

export function History({ sync }: { sync: SyncStatus }) {
  const [search] = useSearchParams();
  const [key, setKey] = useState(search.get('key') ?? '');
  const [asked] = useDebouncedValue(key.trim(), TYPING_MS);
  const found = useInfiniteQuery(historyQuery(sync.name, asked));
  return (
    <Section title="History">
      <TextInput
        label="Of the record with the key"
        placeholder="All records"
        leftSection={<IconSearch size={16} aria-hidden />}
        maw={360}
        value={key}
        onChange={(event) => setKey(event.currentTarget.value)}
      />
      <InPages query={found}>
        {(list) =>
          list.length === 0 ? (
            <Text size="sm" c="dimmed">
              Nothing was written{asked && ' for this record'} yet.
            </Text>
          ) : (
            <Panel flush>
              <Table>
                <Table.Thead>
                  <Table.Tr>
                    <Table.Th>When</Table.Th>
                    <Table.Th>Record</Table.Th>
                    <Table.Th>What</Table.Th>
                    <Table.Th>Fields</Table.Th>
                  </Table.Tr>
                </Table.Thead>
                <Table.Tbody>
                  {list.map((entry) => (
                    <Entry key={entry.id} sync={sync} entry={entry} />
                  ))}
                </Table.Tbody>
              </Table>
            </Panel>
          )
        }
      </InPages>
    </Section>
  );
}

function Entry({ sync, entry }: { sync: SyncStatus; entry: HistoryEntry }) {
  const where = entry.side === 'left' ? sync.left : sync.right;
  return (
    <Table.Tr>
      <Table.Td>
        <When at={entry.at} />
      </Table.Td>
      <Table.Td>
        {entry.left_key ?? entry.right_key} in {entry.table}
      </Table.Td>
      <Table.Td>
        {DONE[entry.kind] ?? entry.kind} in {where} ({entry.why})
      </Table.Td>
      <Table.Td>
        {entry.changes.length > 0
          ? entry.changes
              .filter((one) => one.field !== VERDICT)
              .map((one) => `${one.field}: ${one.before ?? '–'} → ${one.after ?? '–'}`)
              .join('; ')
          : entry.fields.filter((field) => field !== VERDICT).join(', ')}
      </Table.Td>
    </Table.Tr>
  );
}
