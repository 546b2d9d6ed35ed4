/** People: added with a first password or invited to sign in with the provider, changed in their role, removed. */
import {
  Button,
  Checkbox,
  Modal,
  PasswordInput,
  Select,
  Stack,
  Table,
  Text,
  TextInput,
} from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { notifications } from '@mantine/notifications';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState, type FormEvent } from 'react';
import { api, told } from '../../api/client';
import { useOnce } from '../../api/once';
import { refusalOf } from '../../api/problem';
import { entrance } from '../../api/queries';
import type { Role, UserInfo } from '../../api/schema';
import { Section } from '../../parts/Page';
import { Panel } from '../../parts/Panel';
import { Portions } from '../../parts/Portions';
import { ProblemNote } from '../../parts/ProblemNote';
import { Told } from '../../parts/Told';
import { When } from '../../parts/When';
import { useMe } from '../entrance/Gate';
import { ROLES, users as usersQuery } from './about';

export function Users() {
  const users = useQuery(usersQuery);
  const [isAdding, add] = useDisclosure(false);
  return (
    <Section
      title="Users"
      actions={
        <Button size="compact-sm" onClick={add.open}>
          Add a user
        </Button>
      }
    >
      <Told query={users}>
        {(list) => (
          <Portions list={list}>
            {(shown) => (
              <Panel flush>
                <Table>
                  <Table.Thead>
                    <Table.Tr>
                      <Table.Th>Name</Table.Th>
                      <Table.Th>Role</Table.Th>
                      <Table.Th>Since</Table.Th>
                      <Table.Th>Remove</Table.Th>
                    </Table.Tr>
                  </Table.Thead>
                  <Table.Tbody>
                    {shown.map((user) => (
                      <User key={user.name} user={user} />
                    ))}
                  </Table.Tbody>
                </Table>
              </Panel>
            )}
          </Portions>
        )}
      </Told>
      {isAdding && <AddUser onClose={add.close} />}
    </Section>
  );
}

function User({ user }: { user: UserInfo }) {
  const queries = useQueryClient();
  const isOneself = useMe().name === user.name;
  const params = { path: { name: user.name } };
  const outcome = {
    onError: (thrown: unknown) =>
      notifications.show({ color: 'red', title: user.name, message: refusalOf(thrown).message }),
    onSettled: () => queries.invalidateQueries({ queryKey: usersQuery.queryKey }),
  };
  const change = useMutation({
    mutationFn: (role: Role) => told(api.PATCH('/api/v1/users/{name}', { params, body: { role } })),
    ...outcome,
  });
  const remove = useMutation({
    mutationFn: () => told(api.DELETE('/api/v1/users/{name}', { params })),
    ...outcome,
  });
  return (
    <Table.Tr>
      <Table.Td>
        {user.name}
        {!user.has_password && (
          <Text size="xs" c="dimmed">
            no password: signs in with the provider
          </Text>
        )}
      </Table.Td>
      <Table.Td>
        <Select
          aria-label={`Role of ${user.name}`}
          size="xs"
          data={ROLES}
          value={user.role}
          disabled={isOneself || change.isPending}
          onChange={(role) => role && change.mutate(role as Role)}
        />
      </Table.Td>
      <Table.Td>
        <When at={user.since} />
      </Table.Td>
      <Table.Td>
        <Button
          size="compact-sm"
          variant="subtle"
          className="danger"
          aria-label={`Remove ${user.name}`}
          disabled={isOneself}
          loading={remove.isPending}
          onClick={() => remove.mutate()}
        >
          Remove
        </Button>
      </Table.Td>
    </Table.Tr>
  );
}

function AddUser({ onClose }: { onClose: () => void }) {
  const queries = useQueryClient();
  const [name, setName] = useState('');
  const [password, setPassword] = useState('');
  const [role, setRole] = useState<Role>('viewer');
  const provider = useQuery(entrance).data?.provider;
  const [isInvited, setIsInvited] = useState(false);
  const once = useOnce();
  const add = useMutation({
    mutationFn: () => {
      const body = { name, role, ...(isInvited ? {} : { password }) };
      return once.make(body, (header) =>
        told(api.POST('/api/v1/users', { body, params: { header } })),
      );
    },
    onSuccess: async () => {
      await queries.invalidateQueries({ queryKey: usersQuery.queryKey });
      onClose();
    },
  });
  const onSubmit = (event: FormEvent) => {
    event.preventDefault();
    add.mutate();
  };
  return (
    <Modal opened onClose={onClose} title="Add a user">
      <form onSubmit={onSubmit}>
        <Stack gap="md">
          <TextInput
            label="Name or e-mail address"
            autoCapitalize="none"
            autoComplete="off"
            required
            value={name}
            onChange={(event) => setName(event.currentTarget.value)}
          />
          {provider && (
            <Checkbox
              label={`Signs in with ${provider}, without a password`}
              description="The name has to be the e-mail address that is verified there."
              checked={isInvited}
              onChange={(event) => setIsInvited(event.currentTarget.checked)}
            />
          )}
          {!isInvited && (
            <PasswordInput
              label="First password"
              description="At least 12 characters; they change it once they are in."
              autoComplete="new-password"
              minLength={12}
              required
              value={password}
              onChange={(event) => setPassword(event.currentTarget.value)}
            />
          )}
          <Select
            label="Role"
            data={ROLES}
            value={role}
            allowDeselect={false}
            onChange={(value) => value && setRole(value as Role)}
          />
          {add.isError && <ProblemNote thrown={add.error} />}
          <Button type="submit" loading={add.isPending}>
            Add
          </Button>
        </Stack>
      </form>
    </Modal>
  );
}
