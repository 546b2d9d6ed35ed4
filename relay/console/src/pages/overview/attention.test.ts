import { expect, test } from 'vitest';
import type { AgentStatus, SyncStatus } from '../../api/schema';
import { attention, verdict } from './attention';

const sync = (more: Partial<SyncStatus>) =>
  ({
    name: 'blog',
    left: 'office-db',
    right: 'marketing',
    state: 'live',
    findings: 0,
    asked: 0,
    slots: [],
    ...more,
  }) as unknown as SyncStatus;
const agent = (more: Partial<AgentStatus>) =>
  ({ name: 'office-db', state: 'online', held: null, ...more }) as unknown as AgentStatus;

test('nothing needs a person while everything is well', () => {
  expect(attention([sync({})], [agent({})])).toEqual([]);
  expect(verdict([sync({})], [])).toBe('Everything is well');
});

test('what stands still comes before what needs a look', () => {
  const found = attention([sync({ findings: 2 })], [agent({ state: 'offline' })]);
  expect(found.map((one) => one.level)).toEqual(['bad', 'care']);
  expect(verdict([], found)).toBe('1 thing stands still');
});

test('a sync that waits says which leg is broken, and leads there', () => {
  const broken = { side: 'left', code: 'tunnel' };
  const waiting = sync({ state: 'waiting', broken, last_error: 'left: no answer' });
  const connection = { name: 'office-db', kind: 'postgres', agent: 'office', target: 'main' };
  expect(attention([waiting], [], [connection])).toEqual([
    {
      level: 'bad',
      about: 'blog',
      what: 'is waiting: broken between the relay and agent office',
      detail: 'left: no answer',
      to: '/agents',
    },
  ]);
});

test('conflicts to pick and a difference found by verify are told', () => {
  const verified = { equal: false, difference_count: 1, at: '2026-11-26T12:00:00Z' };
  const found = attention([sync({ asked: 1, verified } as Partial<SyncStatus>)], []);
  expect(found.map((one) => one.what)).toEqual([
    'had 1 difference at its last verify',
    'has 1 conflict that waits for your pick',
  ]);
});
