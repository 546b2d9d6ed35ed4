import { expect, test } from 'vitest';
import type { AppKind } from '../../api/schema';
import { EMPTY, bodyOf, isWhole, ofUrl } from './filled';

const KINDS: AppKind[] = [
  { kind: 'kinto', title: 'Kinto', base_url: null, sign_in: 'user-and-password' },
  { kind: 'airtable', title: 'Airtable', base_url: 'https://api.airtable.com', sign_in: 'token' },
];

const DIRECT = {
  ...EMPTY,
  way: 'direct' as const,
  name: 'db',
  host: 'db.example',
  user: 'ada',
  password: 'p@ss/word',
  database: 'my shop',
};

test('only what belongs to the chosen way is sent', () => {
  const filled = { ...EMPTY, name: ' db ', agent: 'office', target: 'main', host: 'x' };
  expect(bodyOf(filled)).toEqual({ name: 'db', kind: 'postgres', agent: 'office', target: 'main' });
  const app = { ...filled, way: 'app' as const, kind: 'kinto', token: 't' };
  expect(bodyOf(app)).toEqual({ name: 'db', kind: 'kinto', token: 't' });
  expect(bodyOf({ ...app, baseUrl: 'https://a' })).toMatchObject({ base_url: 'https://a' });
  expect(bodyOf({ ...app, isPrivate: true })).toMatchObject({ allow_private: true });
});

test('a direct connection is written as an address whose parts keep their signs', () => {
  const { url } = bodyOf(DIRECT);
  expect(url).toBe('postgres://ada:p%40ss%2Fword@db.example:5432/my%20shop?sslmode=verify-full');
  expect(bodyOf({ ...DIRECT, host: '::1' }).url).toContain('@[::1]:5432/');
});

test('a pasted connection string fills all parts', () => {
  const { url } = bodyOf({ ...DIRECT, port: '6543', tls: 'disable' });
  expect(ofUrl(url ?? '')).toEqual({
    host: 'db.example',
    port: '6543',
    user: 'ada',
    password: 'p@ss/word',
    database: 'my shop',
    tls: 'disable',
  });
  expect(ofUrl('postgresql://u:p@[::1]/d')).toMatchObject({ host: '::1', port: '5432' });
  expect(ofUrl('db.example')).toBeUndefined();
});

test('what is missing keeps it from being sent', () => {
  expect(isWhole(EMPTY)).toBe(false);
  expect(isWhole({ ...EMPTY, name: 'db', agent: 'office' })).toBe(false);
  expect(isWhole({ ...EMPTY, name: 'db', agent: 'office', target: 'main' })).toBe(true);
  expect(isWhole({ ...DIRECT, host: ' ' })).toBe(false);
  expect(isWhole(DIRECT)).toBe(true);
  const app = { ...EMPTY, name: 'a', way: 'app' as const, token: 't' };
  expect(isWhole({ ...app, kind: 'airtable' }, KINDS)).toBe(true);
  expect(isWhole({ ...app, kind: 'kinto' }, KINDS)).toBe(false);
});
