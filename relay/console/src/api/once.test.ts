import { expect, test, vi } from 'vitest';
import { Once } from './once';

type Send = (header: { 'idempotency-key': string }) => Promise<string>;

test('a double click makes one', async () => {
  const once = new Once();
  const send = vi.fn<Send>().mockResolvedValue('made');
  const both = await Promise.all([once.make({ a: 1 }, send), once.make({ a: 1 }, send)]);
  expect(both).toEqual(['made', 'made']);
  expect(send).toHaveBeenCalledTimes(1);
});

test('what is tried again after no answer has the same key, and what is new another one', async () => {
  const once = new Once();
  const keys: string[] = [];
  const answers = ['lost', 'made', 'made', 'made'];
  const send: Send = (header) => {
    keys.push(header['idempotency-key']);
    const answer = answers.shift();
    return answer === 'made' ? Promise.resolve('made') : Promise.reject(new Error('lost'));
  };
  await expect(once.make({ a: 1 }, send)).rejects.toThrow('lost');
  await once.make({ a: 1 }, send);
  await once.make({ a: 1 }, send);
  await once.make({ a: 2 }, send);
  expect(keys[1]).toBe(keys[0]);
  expect(new Set(keys).size).toBe(3);
  expect(keys[0]).toMatch(/^[0-9a-f]{32}$/);
});
