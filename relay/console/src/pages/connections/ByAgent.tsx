/** A database that only its own network reaches: through an agent, which can be paired from here. */
import { Button, Select, Text } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { IconPlus } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { agents as agentsQuery } from '../../api/queries';
import { useMay } from '../entrance/Gate';
import { Invite } from '../agents/Invite';
import type { PartProps } from './AddConnection';

export function ByAgent({ filled, fill }: PartProps) {
  const agents = useQuery(agentsQuery);
  const mayInvite = useMay('admin');
  const [isInviting, invite] = useDisclosure(false);
  const known = agents.data?.filter((one) => one.state !== 'revoked') ?? [];
  const agent = known.find((one) => one.name === filled.agent);
  const targets = agent?.targets ?? [];
  return (
    <>
      <Select
        label="Agent"
        placeholder="Choose an agent"
        data={known.map((one) => one.name)}
        nothingFoundMessage="No agent is paired yet"
        value={filled.agent}
        onChange={(name) => fill({ agent: name, target: null })}
        required
      />
      {mayInvite && (
        <div>
          <Button
            size="compact-sm"
            variant="default"
            leftSection={<IconPlus size={14} aria-hidden />}
            onClick={invite.open}
          >
            Pair an agent
          </Button>
        </div>
      )}
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
      {isInviting && (
        <Invite onClose={invite.close} onOnline={(name) => fill({ agent: name, target: null })} />
      )}
    </>
  );
}
