import { expect, test } from 'vitest';
import { toldWhole } from './client';

test('a list is read to its end, however many pages it has', async () => {
  const asked: (string | undefined)[] = [];
  const pages = [
    { data: ['a', 'b'], next: 'b' },
    { data: ['c', 'd'], next: 'd' },
    { data: ['e'], next: undefined },
  ];
  const whole = await toldWhole<string>(async ({ cursor }) => {
    asked.push(cursor);
    const page = pages[asked.length - 1];
    const headers = new Headers(page?.next ? [['x-next-cursor', page.next]] : []);
    return { data: page?.data ?? [], response: new Response(null, { headers }) };
  });
  expect(whole).toEqual(['a', 'b', 'c', 'd', 'e']);
  expect(asked).toEqual([undefined, 'b', 'd']);
});
