/** Messages to a channel, the last first: what became of each; what was given up can be sent again. */
import { Button, Table, Text } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { useInfiniteQuery, useMutation, useQueryClient } from '@tanstack/react-query';
import { api, told } from '../../api/client';
import { refusalOf } from '../../api/problem';
import type { Delivery } from '../../api/schema';
import { InPages } from '../../parts/InPages';
import { When } from '../../parts/When';
import { useMay } from '../entrance/Gate';
import { channels as channelsQuery, deliveries as deliveriesQuery } from './about';
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
                    <Table.Td>
                      {BECAME[one.state] ?? one.state}
                      {one.state === 'given-up' && <Resend channel={name} delivery={one} />}
                    </Table.Td>
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

function Resend({ channel, delivery }: { channel: string; delivery: Delivery }) {
  const mayResend = useMay('admin');
  const queries = useQueryClient();
  const path = { name: channel, id: delivery.id };
  const resend = useMutation({
    mutationFn: () =>
      told(api.POST('/api/v1/channels/{name}/deliveries/{id}/resend', { params: { path } })),
    onError: (thrown) =>
      notifications.show({ color: 'red', title: channel, message: refusalOf(thrown).message }),
    onSettled: async () => {
      await queries.invalidateQueries({ queryKey: deliveriesQuery(channel).queryKey });
      await queries.invalidateQueries({ queryKey: channelsQuery.queryKey });
    },
  });
  if (!mayResend) return null;
  return (
    <Button
      ml="xs"
      size="compact-xs"
      variant="default"
      loading={resend.isPending}
      aria-label={`Send again: ${delivery.summary}`}
      onClick={() => resend.mutate()}
    >
      Send again
    </Button>
  );
}
