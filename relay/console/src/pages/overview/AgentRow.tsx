/** One agent of the overview: whether its leg stands, and how good it is. */
import { Anchor, Text } from '@mantine/core';
import { Link } from 'react-router';
import type { AgentStatus } from '../../api/schema';
import { Panel } from '../../parts/Panel';
import { State } from '../../parts/State';
import { When } from '../../parts/When';
import { span } from '../../parts/words';
import { Figure } from '../../parts/Figure';
import classes from '../../parts/Row.module.css';

export function AgentRow({ agent }: { agent: AgentStatus }) {
  const isOnline = agent.state === 'online';
  return (
    <Panel className={classes.row}>
      <div className={classes.head}>
        <div className={classes.name}>
          <Anchor component={Link} to="/agents" fw={650} size="md">
            {agent.name}
          </Anchor>
          <Text size="sm" c="dimmed">
            {agent.host ? `on ${agent.host}` : 'has not come yet'}
          </Text>
        </div>
        <State state={agent.state} />
      </div>
      {agent.host && (
        <dl className={classes.figures}>
          <Figure name="Round trip">
            {isOnline && agent.rtt_ms != null ? span(agent.rtt_ms) : '–'}
          </Figure>
          <Figure name="Packets lost">
            {isOnline && agent.loss_percent != null ? `${agent.loss_percent.toFixed(1)} %` : '–'}
          </Figure>
          <Figure name="Databases">
            {agent.targets.map((target) => target.database).join(', ') || '–'}
          </Figure>
          <Figure name="Holds back" tone={agent.held ? 'care' : undefined}>
            {agent.held ?? 'nothing'}
          </Figure>
          <Figure name={isOnline ? 'Connected' : 'Last seen'}>
            {agent.since ? <When at={agent.since} /> : '–'}
          </Figure>
        </dl>
      )}
    </Panel>
  );
}
