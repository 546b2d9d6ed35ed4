import { expect, test } from 'vitest';
import type { AgentStatus, ConnectionInfo, SyncStatus } from '../../api/schema';
import { brokenLeg } from './legs';

const connections = [
  { name: 'office', kind: 'postgres', agent: 'office-db', target: 'main' },
  { name: 'cloud', kind: 'postgres' },
  { name: 'marketing', kind: 'airtable' },
] as ConnectionInfo[];
const agent = (state: string) => [{ name: 'office-db', state } as AgentStatus];

function leg(left: string, code: string | undefined, state = 'online') {
  const broken = code === undefined ? null : { side: 'left', code };
  const sync = { left, right: 'marketing', broken } as SyncStatus;
  return brokenLeg(sync, connections, agent(state))?.between;
}

test('a leg that is broken is named by its ends', () => {
  expect(leg('office', undefined)).toBeUndefined();
  expect(leg('office', 'tunnel')).toBe('the relay and agent office-db');
  expect(leg('office', 'agent-offline', 'offline')).toBe('the relay and agent office-db');
  expect(leg('office', 'database-unreachable')).toBe('agent office-db and its database main');
  expect(leg('office', 'connection-lost')).toBe('agent office-db and its database main');
  expect(leg('cloud', 'connection-refused')).toBe('the relay and the database cloud');
  expect(leg('marketing', 'unavailable')).toBe('the relay and the app marketing');
  expect(leg('removed', 'no-answer')).toBe('the relay and removed');
});

test('an agent that is away is the reason, whatever failed last', () => {
  expect(leg('office', 'connection-lost', 'offline')).toBe('the relay and agent office-db');
});

test('of the right side the right connection is looked at', () => {
  const broken = { side: 'right', code: 'unavailable' };
  const sync = { left: 'office', right: 'marketing', broken } as SyncStatus;
  expect(brokenLeg(sync, connections, [])?.between).toBe('the relay and the app marketing');
});
