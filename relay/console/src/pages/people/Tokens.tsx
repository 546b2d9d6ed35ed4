/** Tokens by which programs come in: shown once when they are made. */
import { Button, Modal, Select, Stack, Table, Text, TextInput } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState, type FormEvent } from 'react';
import { api, told } from '../../api/client';
import { useOnce } from '../../api/once';
import type { Role, TokenInfo } from '../../api/schema';
import { Confirm } from '../../parts/Confirm';
import { Copyable } from '../../parts/Copyable';
import { Section } from '../../parts/Page';
import { Panel } from '../../parts/Panel';
import { Portions } from '../../parts/Portions';
import { ProblemNote } from '../../parts/ProblemNote';
import { Told } from '../../parts/Told';
import { When } from '../../parts/When';
import { ROLES, tokens as tokensQuery } from './about';

const DAY_S = 86_400;
const TERMS = [
  { value: `${30 * DAY_S}`, label: '30 days' },
  { value: `${90 * DAY_S}`, label: '90 days' },
  { value: `${365 * DAY_S}`, label: 'A year' },
];

export function Tokens() {
  const tokens = useQuery(tokensQuery);
  const [isMaking, make] = useDisclosure(false);
  const [ending, setEnding] = useState<TokenInfo>();
  return (
    <Section
      title="Tokens"
      actions={
        <Button size="compact-sm" onClick={make.open}>
          Make a token
        </Button>
      }
    >
      <Told query={tokens}>
        {(list) => (
          <Portions list={list}>
            {(shown) => (
              <Panel flush>
                <Table>
                  <Table.Thead>
                    <Table.Tr>
                      <Table.Th>Name</Table.Th>
                      <Table.Th>Role</Table.Th>
                      <Table.Th>Ends</Table.Th>
                      <Table.Th>Revoke</Table.Th>
                    </Table.Tr>
                  </Table.Thead>
                  <Table.Tbody>
                    {shown.map((token) => (
                      <Table.Tr key={token.name}>
                        <Table.Td>{token.name}</Table.Td>
                        <Table.Td>{token.role}</Table.Td>
                        <Table.Td>
                          {token.expires_at ? <When at={token.expires_at} /> : 'never'}
                        </Table.Td>
                        <Table.Td>
                          <Button
                            size="compact-sm"
                            variant="subtle"
                            className="danger"
                            aria-label={`Revoke ${token.name}`}
                            onClick={() => setEnding(token)}
                          >
                            Revoke
                          </Button>
                        </Table.Td>
                      </Table.Tr>
                    ))}
                  </Table.Tbody>
                </Table>
              </Panel>
            )}
          </Portions>
        )}
      </Told>
      {isMaking && <Make onClose={make.close} />}
      {ending && <Revoke token={ending} onClose={() => setEnding(undefined)} />}
    </Section>
  );
}

function Make({ onClose }: { onClose: () => void }) {
  const queries = useQueryClient();
  const [name, setName] = useState('');
  const [role, setRole] = useState<Role>('viewer');
  const [term, setTerm] = useState(`${90 * DAY_S}`);
  const once = useOnce();
  const make = useMutation({
    mutationFn: () => {
      const body = { name, role, expires_s: Number(term) };
      return once.make(body, (header) =>
        told(api.POST('/api/v1/tokens', { body, params: { header } })),
      );
    },
    onSuccess: () => queries.invalidateQueries({ queryKey: tokensQuery.queryKey }),
  });
  const onSubmit = (event: FormEvent) => {
    event.preventDefault();
    make.mutate();
  };
  return (
    <Modal opened onClose={onClose} title="Make a token">
      {make.data ? (
        <Stack gap="md">
          <Text>Copy it now: it is not shown again.</Text>
          <Copyable text={make.data.token} label="The token" />
          <Button onClick={onClose}>Done</Button>
        </Stack>
      ) : (
        <form onSubmit={onSubmit}>
          <Stack gap="md">
            <TextInput
              label="Name"
              description="Which program it is for."
              autoCapitalize="none"
              required
              value={name}
              onChange={(event) => setName(event.currentTarget.value)}
            />
            <Select
              label="Role"
              data={ROLES}
              value={role}
              allowDeselect={false}
              onChange={(value) => value && setRole(value as Role)}
            />
            <Select
              label="Good for"
              data={TERMS}
              value={term}
              allowDeselect={false}
              onChange={(value) => value && setTerm(value)}
            />
            {make.isError && <ProblemNote thrown={make.error} />}
            <Button type="submit" loading={make.isPending}>
              Make it
            </Button>
          </Stack>
        </form>
      )}
    </Modal>
  );
}

function Revoke({ token, onClose }: { token: TokenInfo; onClose: () => void }) {
  const queries = useQueryClient();
  const params = { path: { name: token.name } };
  const revoke = useMutation({
    mutationFn: () => told(api.DELETE('/api/v1/tokens/{name}', { params })),
    onSuccess: async () => {
      await queries.invalidateQueries({ queryKey: tokensQuery.queryKey });
      onClose();
    },
  });
  return (
    <Confirm
      title={`Revoke ${token.name}?`}
      verb="Revoke"
      isDangerous
      isPending={revoke.isPending}
      thrown={revoke.error}
      onConfirm={() => revoke.mutate()}
      onClose={onClose}
    >
      <Text>Whatever uses it is refused at once.</Text>
    </Confirm>
  );
}
