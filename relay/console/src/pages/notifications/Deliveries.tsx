/** Messages to a channel, the last first: what became of each. */
import { Table, Text } from '@mantine/core';
import { useInfiniteQuery } from '@tanstack/react-query';
import { InPages } from '../../parts/InPages';
import { When } from '../../parts/When';
import { deliveries as deliveriesQuery } from './about';
import classes from './Notifications.module.css';

const BECAME: Record<string, string> = {
  pending: 'On its way',
  delivered: 'Delivered',
  'given-up': 'Given up',
};

export function Deliveries({ name }: { name: string }) {
  const deliveries = useInfiniteQuery(deliveriesQuery(name));
  return (
    <InPages query={deliveries}>
      {(list) =>
        list.length === 0 ? (
          <Text size="sm" c="dimmed">
            Nothing was sent yet. Tests are not listed.
          </Text>
        ) : (
          <div className={classes.wide}>
            <Table>
              <Table.Thead>
                <Table.Tr>
                  <Table.Th>When</Table.Th>
                  <Table.Th>What</Table.Th>
                  <Table.Th>Became</Table.Th>
                  <Table.Th>Why</Table.Th>
                </Table.Tr>
              </Table.Thead>
              <Table.Tbody>
                {list.map((one) => (
                  <Table.Tr key={one.id}>
                    <Table.Td>
                      <When at={one.created_at} />
                    </Table.Td>
                    <Table.Td>{one.summary}</Table.Td>
                    <Table.Td>{BECAME[one.state] ?? one.state}</Table.Td>
                    <Table.Td>
                      {one.last_error}
                      {one.last_error && one.next_at && (
                        <>
                          , again <When at={one.next_at} />
                        </>
                      )}
                    </Table.Td>
                  </Table.Tr>
                ))}
              </Table.Tbody>
            </Table>
          </div>
        )
      }
    </InPages>
  );
}
