/** A new connection: PostgreSQL through an agent or directly, or an app by its address and token. */
import { Alert, Button, Modal, Select, Stack, Text, TextInput, PasswordInput } from '@mantine/core';
import { SegmentedControl } from '@mantine/core';
import { IconLock } from '@tabler/icons-react';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState, type FormEvent } from 'react';
import { api, told } from '../../api/client';
import { agents as agentsQuery, connections as connectionsQuery, egress } from '../../api/queries';
import { ProblemNote } from '../../parts/ProblemNote';
import { EMPTY, WAYS, bodyOf, isWhole, type Filled, type Way } from './filled';
import { Tested } from './Tested';

type Props = { onClose: () => void; onAdded?: (name: string) => void };

export function AddConnection({ onClose, onAdded }: Props) {
  const queries = useQueryClient();
  const [filled, setFilled] = useState<Filled>(EMPTY);
  const fill = (change: Partial<Filled>) => setFilled((known) => ({ ...known, ...change }));
  const add = useMutation({
    mutationFn: async () => {
      const added = await told(api.POST('/api/v1/connections', { body: bodyOf(filled) }));
      void queries.invalidateQueries({ queryKey: connectionsQuery.queryKey });
      const path = { name: added.name };
      return told(api.POST('/api/v1/connections/{name}/test', { params: { path } }));
    },
    onSuccess: () => onAdded?.(filled.name),
  });
  const onSubmit = (event: FormEvent) => {
    event.preventDefault();
    add.mutate();
  };
  return (
    <Modal opened onClose={onClose} title="Add a connection" size="lg">
      <form onSubmit={onSubmit}>
        <Stack gap="md">
          <SegmentedControl
            aria-label="What it leads to"
            data={WAYS}
            value={filled.way}
            onChange={(way) => fill({ way: way as Way })}
          />
          <TextInput
            label="Name"
            description="What you call it here."
            autoCapitalize="none"
            required
            value={filled.name}
            onChange={(event) => fill({ name: event.currentTarget.value })}
          />
          {filled.way === 'agent' && <ThroughAgent filled={filled} fill={fill} />}
          {filled.way === 'direct' && <Directly filled={filled} fill={fill} />}
          {filled.way === 'app' && <App filled={filled} fill={fill} />}
          {add.isError && <ProblemNote thrown={add.error} />}
          {add.data && <Tested test={add.data} />}
          {add.data ? (
            <Button onClick={onClose}>Done</Button>
          ) : (
            <Button type="submit" loading={add.isPending} disabled={!isWhole(filled)}>
              Add and test
            </Button>
          )}
        </Stack>
      </form>
    </Modal>
  );
}

type Part = { filled: Filled; fill: (change: Partial<Filled>) => void };

function ThroughAgent({ filled, fill }: Part) {
  const agents = useQuery(agentsQuery);
  const agent = agents.data?.find((one) => one.name === filled.agent);
  const targets = agent?.targets ?? [];
  return (
    <>
      <Select
        label="Agent"
        placeholder="Choose an agent"
        data={agents.data?.map((one) => one.name) ?? []}
        nothingFoundMessage="No agent is paired yet"
        value={filled.agent}
        onChange={(name) => fill({ agent: name, target: null })}
        required
      />
      <Select
        label="Database"
        description="What the agent offers: the targets of its agent.toml."
        placeholder="Choose a target"
        data={targets.map((one) => ({ value: one.name, label: `${one.name} (${one.database})` }))}
        value={filled.target}
        onChange={(target) => fill({ target })}
        disabled={!agent}
        required
      />
      <Text size="sm" c="dimmed">
        Its password stays with the agent; the relay never sees it.
      </Text>
    </>
  );
}

function Directly({ filled, fill }: Part) {
  const addresses = useQuery(egress);
  return (
    <>
      <PasswordInput
        label="Connection string"
        description="postgres://user:password@host:5432/database?sslmode=verify-full"
        autoComplete="off"
        required
        value={filled.url}
        onChange={(event) => fill({ url: event.currentTarget.value })}
      />
      {(addresses.data?.public.length ?? 0) > 0 && (
        <Alert icon={<IconLock aria-hidden />} color="blue" title="Let this relay in">
          Connections come from {addresses.data?.public.join(', ')}: allow these, and no others, to
          the database’s port.
        </Alert>
      )}
    </>
  );
}

function App({ filled, fill }: Part) {
  return (
    <>
      <TextInput
        label="Kind"
        description="The name of its connector, as tidegate-relay connector list shows it."
        autoCapitalize="none"
        required
        value={filled.kind}
        onChange={(event) => fill({ kind: event.currentTarget.value })}
      />
      <TextInput
        label="Address"
        description="Where its API is. Leave it empty where the connector knows it."
        placeholder="https://"
        value={filled.baseUrl}
        onChange={(event) => fill({ baseUrl: event.currentTarget.value })}
      />
      <PasswordInput
        label="Token"
        description="Kept encrypted; it is never shown again."
        autoComplete="off"
        required
        value={filled.token}
        onChange={(event) => fill({ token: event.currentTarget.value })}
      />
    </>
  );
}
