/** Whether everything is well, at a glance: what needs a person, each sync, each agent. */
import { Button } from '@mantine/core';
import { IconBroadcast, IconPlus } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { Link } from 'react-router';
import {
  agents as agentsQuery,
  connections as connectionsQuery,
  syncs as syncsQuery,
} from '../../api/queries';
import { Nothing } from '../../parts/Nothing';
import { Page, Section } from '../../parts/Page';
import { Portions } from '../../parts/Portions';
import { Told } from '../../parts/Told';
import { useMay } from '../entrance/Gate';
import { AgentRow } from './AgentRow';
import { attention } from './attention';
import { Drafts } from './Drafts';
import { FirstSteps } from './FirstSteps';
import { brokenLeg } from './legs';
import { SyncRow } from './SyncRow';
import { Verdict } from './Verdict';
import classes from './Overview.module.css';

export default function Overview() {
  const syncs = useQuery(syncsQuery);
  const agents = useQuery(agentsQuery);
  const connections = useQuery(connectionsQuery).data ?? [];
  const mayCreate = useMay('editor');
  const isNew = syncs.data?.length === 0;
  return (
    <Page
      title="Overview"
      actions={
        mayCreate && (
          <Button component={Link} to="/syncs/new" leftSection={<IconPlus size={16} aria-hidden />}>
            Create sync
          </Button>
        )
      }
    >
      {syncs.data && agents.data && !isNew && (
        <Verdict syncs={syncs.data} attentions={attention(syncs.data, agents.data, connections)} />
      )}
      <Section title="Syncs">
        <Told query={syncs}>
          {(list) =>
            list.length === 0 ? (
              <FirstSteps agents={agents.data ?? []} />
            ) : (
              <div className={classes.rows}>
                <Portions list={list}>
                  {(shown) =>
                    shown.map((sync) => (
                      <SyncRow
                        key={sync.name}
                        sync={sync}
                        leg={brokenLeg(sync, connections, agents.data ?? [])}
                      />
                    ))
                  }
                </Portions>
              </div>
            )
          }
        </Told>
      </Section>
      <Drafts />
      <Section title="Agents">
        <Told query={agents}>
          {(list) =>
            list.length === 0 ? (
              <Nothing icon={<IconBroadcast />} title="No agents">
                An agent runs beside a private database and connects to this relay. Databases that
                the relay can reach itself need none.
              </Nothing>
            ) : (
              <div className={classes.rows}>
                <Portions list={list}>
                  {(shown) => shown.map((agent) => <AgentRow key={agent.name} agent={agent} />)}
                </Portions>
              </div>
            )
          }
        </Told>
      </Section>
    </Page>
  );
}
