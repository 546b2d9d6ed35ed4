import { expect, test } from 'vitest';
import type { FieldMap } from '../../api/schema';
import * as drafts from './draft';

const MAP = {
  fits: [
    { left: 'id', right: 'id', fits: 'lossless' },
    { left: 'title', right: 'Title', fits: 'left-to-right', reason: 'longer texts do not fit' },
    { left: 'title', right: 'Slug', fits: 'lossless' },
  ],
  left: [],
  right: [],
  suggested: [
    { left: 'id', right: 'id', direction: 'both' },
    { left: 'title', right: 'Title', direction: 'left-to-right' },
  ],
  suggested_key: [['id', 'id']],
} as unknown as FieldMap;

const PAIR = { left: 'posts', right: 'Posts' };

test('tables are taken in and left out', () => {
  const one = drafts.toggled(drafts.EMPTY, PAIR);
  expect(one.tables).toHaveLength(1);
  expect(drafts.toggled(one, PAIR).tables).toEqual([]);
});

test('what is suggested is taken once, and the key is not mapped twice', () => {
  const table = drafts.mapped(drafts.newTable(PAIR), MAP);
  expect(table.key).toEqual([['id', 'id']]);
  expect(table.fields).toEqual([{ left: 'title', right: 'Title', direction: 'left-to-right' }]);
  const emptied = { ...table, fields: [] };
  expect(drafts.mapped(emptied, MAP)).toBe(emptied);
});

test('fields are joined only as they fit, and each only once', () => {
  const table = drafts.mapped(drafts.newTable(PAIR), MAP);
  expect(drafts.joined(table, MAP, 'id', 'Title')).toBe(table);
  const again = drafts.joined(table, MAP, 'title', 'Slug');
  expect(again.fields).toEqual([{ left: 'title', right: 'Slug', direction: 'both' }]);
});

test('a direction turns among those that are allowed', () => {
  const ways = drafts.allowed(MAP, 'title', 'Slug');
  expect(drafts.turned('both', ways)).toBe('left-to-right');
  expect(drafts.turned('right-to-left', ways)).toBe('both');
  expect(drafts.turned('left-to-right', drafts.allowed(MAP, 'title', 'Title'))).toBe(
    'left-to-right',
  );
});

test('each step says what it misses', () => {
  const sides = { ...drafts.EMPTY, left: 'a', right: 'b' };
  expect(drafts.missing(drafts.EMPTY, 0)).toContain('both sides');
  expect(drafts.missing(sides, 0)).toContain('name');
  const named = { ...sides, name: 'blog' };
  expect(drafts.missing(named, 0)).toBeUndefined();
  expect(drafts.missing(named, 1)).toContain('tables');
  expect(drafts.missing(drafts.toggled(named, PAIR), 2)).toBeUndefined();
  expect(drafts.missing(drafts.toggled(named, PAIR), 3)).toContain('posts');
});

test('the definition leaves empty filters out', () => {
  const table = { ...drafts.mapped(drafts.newTable(PAIR), MAP), filterRight: ' x > 1 ' };
  const draft = { ...drafts.EMPTY, name: 'blog', left: 'a', right: 'b', tables: [table] };
  const definition = drafts.definitionOf(draft);
  expect(definition.table?.[0]).toEqual({
    left: 'posts',
    right: 'Posts',
    key: [['id', 'id']],
    fields: [{ left: 'title', right: 'Title', direction: 'left-to-right' }],
    existing: 'merge',
    changes: 'both',
    filter_right: 'x > 1',
  });
});

test('foreign keys whose records are in the sync become links', () => {
  const linked = [{ left: 'title', right: 'Writer', link: 'authors' }];
  const table = drafts.mapped(drafts.newTable(PAIR), MAP, linked);
  expect(table.fields).toEqual([
    { left: 'title', right: 'Writer', link: 'authors', direction: 'both' },
  ]);
  expect(drafts.ways(MAP, table.fields[0]!)).toHaveLength(3);
});

test('a key takes its fields out of the mapping, and may have several', () => {
  const table = drafts.mapped(drafts.newTable(PAIR), MAP);
  const keyed = drafts.keyed(table, [
    ['id', 'id'],
    ['title', ''],
  ]);
  expect(keyed.fields).toEqual([]);
  const draft = { ...drafts.EMPTY, name: 'blog', left: 'a', right: 'b', tables: [keyed] };
  expect(drafts.missing(draft, 3)).toContain('posts');
});

test('computed fields stand beside others and take the place of what they fill', () => {
  const table = drafts.mapped(drafts.newTable(PAIR), MAP);
  const shout = { left: '', leftValue: 'title + "!"', right: 'Title' } as const;
  const computed = drafts.withField(table, { ...shout, direction: 'left-to-right' });
  expect(computed.fields).toHaveLength(1);
  const two = drafts.withField(computed, { ...shout, right: 'Slug', direction: 'left-to-right' });
  expect(two.fields.map((field) => field.right)).toEqual(['Title', 'Slug']);
});
