import { expect, test } from 'vitest';
import type { CatalogTable } from '../../api/schema';
import { form, linksOf, scalar, writtenField } from './forms';

test('words are written as what they are', () => {
  expect(['12', '-3', 'true', 'draft', '012', '1.5'].map(scalar)).toEqual([
    12,
    -3,
    true,
    'draft',
    '012',
    '1.5',
  ]);
});

test('a field pair is written with what happens to its values', () => {
  const plain = { left: 'a', right: 'b', direction: 'both' } as const;
  expect(writtenField(plain)).toEqual({ left: 'a', right: 'b', direction: 'both' });
  const words = { ...plain, values: [['draft', '1'] as [string, string]], nullRight: '"7"' };
  expect(writtenField(words)).toEqual({
    ...plain,
    values: [['draft', 1]],
    null_right: '7',
  });
  expect(writtenField({ ...plain, link: 'authors' })).toMatchObject({ link: 'authors' });
  const computed = { ...plain, left: '', leftValue: 'x + "!"' };
  expect(writtenField(computed)).toEqual({ left_value: 'x + "!"', right: 'b' });
  expect(form(plain)).toBeUndefined();
  expect(form(words)).toBe('1 word mapped');
});

test('foreign keys of both sides to the tables of one pair are a link', () => {
  const table = (columns: string[], named: string) =>
    ({ foreign_keys: [{ columns, table: named, references: ['id'] }] }) as unknown as CatalogTable;
  const pairs = [{ left: 'public.authors', right: 'public.people' }];
  const left = table(['author_id'], 'public.authors');
  const links = linksOf(left, table(['writer'], 'public.people'), pairs);
  expect(links).toEqual([{ left: 'author_id', right: 'writer', link: 'public.authors' }]);
  expect(linksOf(left, table(['writer'], 'public.others'), pairs)).toEqual([]);
  expect(linksOf(left, table(['a', 'b'], 'public.people'), pairs)).toEqual([]);
});
