/** What was done in this workspace, the last first. */
import { Table } from '@mantine/core';
import { useInfiniteQuery } from '@tanstack/react-query';
import { InPages } from '../../parts/InPages';
import { Panel } from '../../parts/Panel';
import { When } from '../../parts/When';
import { audit as auditQuery } from './about';

export function Audit() {
  const audit = useInfiniteQuery(auditQuery);
  return (
    <InPages query={audit}>
      {(list) => (
        <Panel flush>
          <Table>
            <Table.Thead>
              <Table.Tr>
                <Table.Th>When</Table.Th>
                <Table.Th>Who</Table.Th>
                <Table.Th>Did</Table.Th>
                <Table.Th>To</Table.Th>
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {list.map((entry) => (
                <Table.Tr key={entry.seq}>
                  <Table.Td>
                    <When at={entry.at} />
                  </Table.Td>
                  <Table.Td>{entry.actor}</Table.Td>
                  <Table.Td>{entry.action}</Table.Td>
                  <Table.Td>{entry.object}</Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </Panel>
      )}
    </InPages>
  );
}
