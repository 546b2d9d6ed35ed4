/** What to do while there is no sync: the way from nothing to a live one. */
import { Text } from '@mantine/core';
import { IconCircleCheck, IconCircleDashed } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { connections as connectionsQuery } from '../../api/queries';
import type { AgentStatus } from '../../api/schema';
import { Panel } from '../../parts/Panel';
import classes from './FirstSteps.module.css';

export function FirstSteps({ agents }: { agents: AgentStatus[] }) {
  const connections = useQuery(connectionsQuery);
  const hasAgent = agents.some((agent) => agent.state === 'online');
  const count = connections.data?.length ?? 0;
  return (
    <Panel className={classes.steps}>
      <div>
        <Text fw={650} size="lg">
          No syncs yet
        </Text>
        <Text c="dimmed">A sync keeps the records of two connections the same, both ways.</Text>
      </div>
      <ol className={classes.list}>
        <Step done={hasAgent} title="Pair an agent">
          For a database that only its own network reaches. It dials out; nothing is opened.
        </Step>
        <Step done={count >= 2} title="Connect both sides">
          PostgreSQL through the agent or directly, and the other app.
          {count === 1 && ' One of them is there.'}
        </Step>
        <Step done={false} title="Map tables and fields, look at the preview, start">
          Nothing is written before you have seen what would be.
        </Step>
      </ol>
    </Panel>
  );
}

function Step({ done, title, children }: { done: boolean; title: string; children: ReactNode }) {
  return (
    <li className={classes.step}>
      {done ? (
        <IconCircleCheck className={classes.done} aria-label="Done" />
      ) : (
        <IconCircleDashed className={classes.open} aria-label="To do" />
      )}
      <div>
        <Text fw={600}>{title}</Text>
        <Text size="sm" c="dimmed">
          {children}
        </Text>
      </div>
    </li>
  );
}
