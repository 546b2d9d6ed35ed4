import { expect, test, vi } from 'vitest';
import { Feed, MOMENTS_MAX, MOMENT_MS } from './feed';
import type { Activity, LiveEvent } from './schema';

const activity = (records: number) =>
  ({ sync: 'blog', creates: records, updates: 0, deletes: 0 }) as unknown as Activity;

test('throughput is counted per moment and forgotten after the window', () => {
  const feed = new Feed();
  const now = 1_000 * MOMENT_MS;
  feed.activity(activity(3), now);
  feed.activity(activity(4), now + 1);
  feed.activity(activity(5), now + MOMENT_MS);
  expect(feed.throughput('blog', now + MOMENT_MS).slice(-2)).toEqual([7, 5]);
  const later = now + MOMENTS_MAX * MOMENT_MS;
  feed.activity(activity(1), later);
  expect(feed.throughput('blog', later).reduce((sum, one) => sum + one)).toBe(6);
  expect(feed.throughput('other', later)).toHaveLength(MOMENTS_MAX);
});

test('the last changes are kept, the newest first, and listeners are told', () => {
  const feed = new Feed();
  const listener = vi.fn<() => void>();
  const stop = feed.subscribe(listener);
  for (let at = 0; at < 600; at += 1) feed.change({ sync: 'blog' } as unknown as LiveEvent, at);
  expect(feed.told().changes).toHaveLength(500);
  expect(feed.told().changes[0]?.at).toBe(599);
  stop();
  feed.lost(2);
  expect(listener).toHaveBeenCalledTimes(600);
});
