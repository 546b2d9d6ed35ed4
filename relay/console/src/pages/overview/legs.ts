/**
 * Which leg of a sync is broken: relay to agent, agent to database, relay to database or app. By what the
 * relay tells of the side at which it fails, and by how that side is connected. Pure.
 */
import type { AgentStatus, ConnectionInfo, SyncStatus } from '../../api/schema';

/** Codes of what lies between relay and agent, or in the agent; all others are behind it. */
const BEFORE_THE_DATABASE = new Set([
  'agent-offline',
  'agent-paused',
  'agent-refused',
  'agent-busy',
  'no-agent',
  'tunnel',
]);

export type Leg = {
  /** `the relay and agent office-db` */
  between: string;
  /** The page on which one goes on looking. */
  to: string;
};

export function brokenLeg(
  sync: SyncStatus,
  connections: ConnectionInfo[],
  agents: AgentStatus[],
): Leg | undefined {
  if (!sync.broken) return undefined;
  const { side, code } = sync.broken;
  const name = side === 'left' ? sync.left : sync.right;
  const connection = connections.find((one) => one.name === name);
  if (!connection) return { between: `the relay and ${name}`, to: '/connections' };
  const { agent, target, kind } = connection;
  if (!agent) {
    const what = kind === 'postgres' ? 'database' : 'app';
    return { between: `the relay and the ${what} ${name}`, to: '/connections' };
  }
  // What failed last may be older than what is known of the agent.
  const isAway = agents.some((one) => one.name === agent && one.state !== 'online');
  if (isAway || BEFORE_THE_DATABASE.has(code)) {
    return { between: `the relay and agent ${agent}`, to: '/agents' };
  }
  return { between: `agent ${agent} and its database ${target ?? name}`, to: '/agents' };
}
