import { expect, test } from 'vitest';
import { EMPTY, bodyOf, isWhole } from './filled';

test('only what belongs to the chosen way is sent', () => {
  const filled = { ...EMPTY, name: ' db ', agent: 'office', target: 'main', url: 'postgres://x' };
  expect(bodyOf(filled)).toEqual({ name: 'db', kind: 'postgres', agent: 'office', target: 'main' });
  expect(bodyOf({ ...filled, way: 'direct' })).toEqual({
    name: 'db',
    kind: 'postgres',
    url: 'postgres://x',
  });
  const app = { ...filled, way: 'app' as const, kind: 'kinto', token: 't' };
  expect(bodyOf(app)).toEqual({ name: 'db', kind: 'kinto', token: 't' });
  expect(bodyOf({ ...app, baseUrl: 'https://a' })).toMatchObject({ base_url: 'https://a' });
});

test('what is missing keeps it from being sent', () => {
  expect(isWhole(EMPTY)).toBe(false);
  expect(isWhole({ ...EMPTY, name: 'db', agent: 'office' })).toBe(false);
  expect(isWhole({ ...EMPTY, name: 'db', agent: 'office', target: 'main' })).toBe(true);
  expect(isWhole({ ...EMPTY, name: 'db', way: 'direct' })).toBe(false);
});
