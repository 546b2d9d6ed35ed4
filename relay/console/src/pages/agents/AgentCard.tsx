/** One agent: its leg of the way in figures, its databases, and the end of its trust. */
import { Alert, Button, Text } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { IconHandStop } from '@tabler/icons-react';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { api, told } from '../../api/client';
import { agents as agentsQuery } from '../../api/queries';
import type { AgentStatus } from '../../api/schema';
import { Confirm } from '../../parts/Confirm';
import { Figure, Figures } from '../../parts/Figure';
import { Panel } from '../../parts/Panel';
import { State } from '../../parts/State';
import { When } from '../../parts/When';
import { bytes, counted, span } from '../../parts/words';
import { useMay } from '../entrance/Gate';
import { Fingerprint } from './Fingerprint';
import rows from '../../parts/Row.module.css';
import classes from './Agents.module.css';

export function AgentCard({ agent }: { agent: AgentStatus }) {
  const mayRevoke = useMay('admin') && agent.state !== 'revoked';
  const [isAsking, ask] = useDisclosure(false);
  return (
    <Panel className={rows.row}>
      <div className={rows.head}>
        <div className={rows.name}>
          <Text component="h2" fw={650} size="md">
            {agent.name}
          </Text>
          <Text size="sm" c="dimmed">
            {agent.host ? `on ${agent.host}` : 'has not come yet'}
            {agent.version && `, version ${agent.version}`}
          </Text>
        </div>
        <State state={agent.state} />
      </div>
      {agent.held && (
        <Alert color="yellow" icon={<IconHandStop aria-hidden />} title={held(agent.held)}>
          {agent.held_reason ?? 'Somebody paused it on its host.'} It goes on with{' '}
          <code>tidegate-agent resume</code> there.
        </Alert>
      )}
      {agent.host && <Leg agent={agent} />}
      <div className={classes.foot}>
        <Text size="sm" c="dimmed">
          {agent.targets.map(database).join(' · ') || 'No databases told yet'}
        </Text>
        {mayRevoke && (
          <Button size="compact-sm" variant="subtle" className="danger" onClick={ask.open}>
            Revoke
          </Button>
        )}
      </div>
      {isAsking && <Revoke agent={agent} onClose={ask.close} />}
    </Panel>
  );
}

function held(what: string): string {
  return what === 'writes' ? 'It holds writes back' : 'It holds everything back';
}

function database(target: AgentStatus['targets'][number]): string {
  const may = target.read_only ? ', read only' : '';
  return `${target.name}: database ${target.database}${may}`;
}

function Leg({ agent }: { agent: AgentStatus }) {
  const isOnline = agent.state === 'online';
  const days = agent.certificate_until ? daysUntil(agent.certificate_until) : undefined;
  return (
    <Figures>
      <Figure name={isOnline ? 'Connected' : 'Last seen'}>
        {agent.since ? <When at={agent.since} /> : '–'}
      </Figure>
      <Figure name="From">{agent.remote ?? '–'}</Figure>
      <Figure name="Round trip">
        {isOnline && agent.rtt_ms != null ? span(agent.rtt_ms) : '–'}
      </Figure>
      <Figure name="Packets lost">
        {isOnline && agent.loss_percent != null ? `${agent.loss_percent.toFixed(1)} %` : '–'}
      </Figure>
      <Figure name="Packet size">{agent.mtu_bytes ? bytes(agent.mtu_bytes) : '–'}</Figure>
      <Figure name="Sent, received">
        {bytes(agent.sent_bytes ?? 0)}, {bytes(agent.received_bytes ?? 0)}
      </Figure>
      <Figure name="Database sessions">{counted(agent.sessions)}</Figure>
      <Figure name="Key" wide>
        {agent.key_fingerprint ? <Fingerprint of={agent.key_fingerprint} /> : '–'}
      </Figure>
      <Figure name="Certificate" tone={days !== undefined && days < 1 ? 'care' : undefined}>
        {days === undefined ? '–' : `${counted(days)} days left`}
      </Figure>
    </Figures>
  );
}

function daysUntil(at: string): number {
  return Math.max(0, Math.floor((new Date(at).getTime() - Date.now()) / 86_400_000));
}

function Revoke({ agent, onClose }: { agent: AgentStatus; onClose: () => void }) {
  const queries = useQueryClient();
  const path = { name: agent.name };
  const revoke = useMutation({
    mutationFn: () => told(api.POST('/api/v1/agents/{name}/revoke', { params: { path } })),
    onSuccess: () => {
      void queries.invalidateQueries({ queryKey: agentsQuery.queryKey });
      onClose();
    },
  });
  return (
    <Confirm
      title={`Revoke ${agent.name}?`}
      verb="Revoke"
      isDangerous
      isPending={revoke.isPending}
      thrown={revoke.error}
      onConfirm={() => revoke.mutate()}
      onClose={onClose}
    >
      <Text>
        Its certificate ends at once and its syncs stop. While it is connected, slots and
        publications of its syncs are dropped first. To have it back, pair it anew.
      </Text>
    </Confirm>
  );
}
