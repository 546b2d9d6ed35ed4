/** Pairing: a token that is good once, what to paste on the host, and the agent as it appears. */
import {
  Alert,
  Button,
  Group,
  Loader,
  Modal,
  SegmentedControl,
  Stack,
  Text,
  TextInput,
} from '@mantine/core';
import { IconCircleCheck } from '@tabler/icons-react';
import { useMutation, useQuery } from '@tanstack/react-query';
import { useState, type FormEvent } from 'react';
import { api, told } from '../../api/client';
import { useOnce } from '../../api/once';
import { agents as agentsQuery } from '../../api/queries';
import type { Invited } from '../../api/schema';
import { Copyable } from '../../parts/Copyable';
import { ProblemNote } from '../../parts/ProblemNote';
import { When } from '../../parts/When';
import { Fingerprint } from './Fingerprint';
import { AGENT_TOML, WAYS, commands, type Way } from './install';

type Props = {
  onClose: () => void;
  /** The agent has come, and a person goes on with it. */
  onOnline?: (name: string) => void;
};

export function Invite({ onClose, onOnline }: Props) {
  const [invited, setInvited] = useState<Invited>();
  return (
    <Modal opened onClose={onClose} title="Pair an agent" size="lg">
      {invited ? (
        <Pairing invited={invited} onClose={onClose} {...(onOnline ? { onOnline } : {})} />
      ) : (
        <Naming onInvited={setInvited} />
      )}
    </Modal>
  );
}

function Naming({ onInvited }: { onInvited: (invited: Invited) => void }) {
  const [name, setName] = useState('');
  const once = useOnce();
  const invite = useMutation({
    mutationFn: () => {
      const body = { name };
      return once.make(body, (header) =>
        told(api.POST('/api/v1/agents', { body, params: { header } })),
      );
    },
    onSuccess: onInvited,
  });
  const onSubmit = (event: FormEvent) => {
    event.preventDefault();
    invite.mutate();
  };
  return (
    <form onSubmit={onSubmit}>
      <Stack gap="md">
        <TextInput
          label="Name"
          description="What you call it here: the place or the database it stands beside."
          placeholder="office-db"
          autoCapitalize="none"
          required
          data-autofocus
          value={name}
          onChange={(event) => setName(event.currentTarget.value)}
        />
        {invite.isError && <ProblemNote thrown={invite.error} />}
        <Button type="submit" loading={invite.isPending}>
          Make a pairing token
        </Button>
      </Stack>
    </form>
  );
}

function Pairing({ invited, onClose, onOnline }: Props & { invited: Invited }) {
  const [way, setWay] = useState<Way>('package');
  const agents = useQuery(agentsQuery);
  const agent = agents.data?.find((one) => one.name === invited.name);
  return (
    <Stack gap="md">
      <Text>
        1. On the database’s host, say in <code>agent.toml</code> which database it is:
      </Text>
      <Copyable text={AGENT_TOML} label="agent.toml" />
      <Text>
        2. Pair and start it there. The token is good once, and ends{' '}
        <When at={invited.expires_at} />.
      </Text>
      <SegmentedControl
        aria-label="How it is installed"
        data={WAYS}
        value={way}
        onChange={(value) => setWay(value as Way)}
      />
      <Copyable text={commands(way, invited.token)} label="Commands for the host" />
      {agent?.state === 'online' ? (
        <Alert
          color="green"
          role="status"
          icon={<IconCircleCheck aria-hidden />}
          title={`${agent.name} is online`}
        >
          <Text size="sm">
            It runs on <b>{agent.host}</b>. Is that your host, and has its key the fingerprint that{' '}
            <code>tidegate-agent pair</code> printed there?
          </Text>
          {agent.key_fingerprint && <Fingerprint of={agent.key_fingerprint} />}
          <Text size="sm">If not, revoke it: somebody else has used the token.</Text>
        </Alert>
      ) : (
        <Group role="status" gap="sm">
          <Loader size="sm" aria-hidden />
          <Text c="dimmed">Waiting for {invited.name}: this turns green by itself.</Text>
        </Group>
      )}
      <Button
        variant={agent?.state === 'online' ? 'filled' : 'default'}
        onClick={() => {
          if (agent?.state === 'online') onOnline?.(agent.name);
          onClose();
        }}
      >
        {agent?.state === 'online' ? 'Done' : 'Close'}
      </Button>
    </Stack>
  );
}
