import { expect, test } from 'vitest';
import { latencies } from './latencies';

test('of changes half and nearly all took no longer', () => {
  const changes = Array.from({ length: 100 }, (_, at) => ({ latency_ms: 100 - at }));
  expect(latencies(changes)).toEqual({ half: 50, most: 95, slowest: 100 });
  expect(latencies([{ latency_ms: 7 }, { latency_ms: null }])).toEqual({
    half: 7,
    most: 7,
    slowest: 7,
  });
  expect(latencies([]).half).toBeUndefined();
});
