/** Agents: which there are, how their legs are, and how a new one is paired. */
import { Button, Text } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { IconBroadcast, IconPlus } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { agents as agentsQuery } from '../../api/queries';
import { Nothing } from '../../parts/Nothing';
import { Page } from '../../parts/Page';
import { Portions } from '../../parts/Portions';
import { Told } from '../../parts/Told';
import { useMay } from '../entrance/Gate';
import { AgentCard } from './AgentCard';
import { Invite } from './Invite';
import classes from './Agents.module.css';

export default function Agents() {
  const agents = useQuery(agentsQuery);
  const mayInvite = useMay('admin');
  const [isInviting, invite] = useDisclosure(false);
  const pair = mayInvite && (
    <Button leftSection={<IconPlus size={16} aria-hidden />} onClick={invite.open}>
      Pair an agent
    </Button>
  );
  return (
    <Page
      title="Agents"
      about="Each runs beside a private database, dials out to this relay and opens no port."
      actions={pair}
    >
      <Told query={agents}>
        {(list) =>
          list.length === 0 ? (
            <Nothing icon={<IconBroadcast />} title="No agents yet">
              <Text component="span" inherit>
                Pair one where your database is. Databases that the relay reaches itself need none.
              </Text>
            </Nothing>
          ) : (
            <div className={classes.cards}>
              <Portions list={list}>
                {(shown) => shown.map((agent) => <AgentCard key={agent.name} agent={agent} />)}
              </Portions>
            </div>
          )
        }
      </Told>
      {isInviting && <Invite onClose={invite.close} />}
    </Page>
  );
}
