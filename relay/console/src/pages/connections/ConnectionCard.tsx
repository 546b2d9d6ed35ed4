/** One connection: where it leads, its test, and its end. */
import { Button, Group, Text } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { api, told } from '../../api/client';
import { connections as connectionsQuery } from '../../api/queries';
import type { ConnectionInfo } from '../../api/schema';
import { Confirm } from '../../parts/Confirm';
import { Panel } from '../../parts/Panel';
import { ProblemNote } from '../../parts/ProblemNote';
import { useMay } from '../entrance/Gate';
import { Tested } from './Tested';
import { kindName, leadsTo } from './words';
import rows from '../../parts/Row.module.css';

export function ConnectionCard({ connection }: { connection: ConnectionInfo }) {
  const mayEdit = useMay('editor');
  const [isAsking, ask] = useDisclosure(false);
  const path = { name: connection.name };
  const test = useMutation({
    mutationFn: () => told(api.POST('/api/v1/connections/{name}/test', { params: { path } })),
  });
  return (
    <Panel className={rows.row}>
      <div className={rows.head}>
        <div className={rows.name}>
          <Text component="h2" fw={650} size="md">
            {connection.name}
          </Text>
          <Text size="sm" c="dimmed">
            {kindName(connection.kind)}, {leadsTo(connection)}
          </Text>
        </div>
        <Group gap="xs">
          {mayEdit && (
            <Button
              size="compact-sm"
              variant="default"
              loading={test.isPending}
              onClick={() => test.mutate()}
            >
              Test
            </Button>
          )}
          {mayEdit && (
            <Button size="compact-sm" variant="subtle" className="danger" onClick={ask.open}>
              Remove
            </Button>
          )}
        </Group>
      </div>
      {test.isError && <ProblemNote thrown={test.error} title="It can’t be reached" />}
      {test.data && <Tested test={test.data} />}
      {isAsking && <Remove connection={connection} onClose={ask.close} />}
    </Panel>
  );
}

function Remove({ connection, onClose }: { connection: ConnectionInfo; onClose: () => void }) {
  const queries = useQueryClient();
  const path = { name: connection.name };
  const remove = useMutation({
    mutationFn: () => told(api.DELETE('/api/v1/connections/{name}', { params: { path } })),
    onSuccess: () => {
      void queries.invalidateQueries({ queryKey: connectionsQuery.queryKey });
      onClose();
    },
  });
  return (
    <Confirm
      title={`Remove ${connection.name}?`}
      verb="Remove"
      isDangerous
      isPending={remove.isPending}
      thrown={remove.error}
      onConfirm={() => remove.mutate()}
      onClose={onClose}
    >
      <Text>
        Its address and its secrets are forgotten. Nothing on the other end is changed. A connection
        that a sync uses stays until the sync is removed.
      </Text>
    </Confirm>
  );
}
