import { expect, test } from 'vitest';
import type { ConflictReport } from '../../api/schema';
import { difference, grouped, newest } from './groups';

const conflict = (id: number, more: Partial<ConflictReport> = {}) =>
  ({ id, sync: 'blog', table: 'posts', left_field: 'title', ...more }) as ConflictReport;

test('conflicts of one field are one group, deletions another', () => {
  const list = [conflict(3), conflict(2, { left_field: null }), conflict(1)];
  const groups = grouped(list);
  expect(groups.map((one) => [one.field, one.conflicts.length])).toEqual([
    ['title', 2],
    [null, 1],
  ]);
  expect(newest(list)).toBe(3);
  expect(grouped([conflict(1), conflict(2, { sync: 'shop' })])).toHaveLength(2);
});

test('what differs is between what is the same', () => {
  expect(difference('a red car', 'a blue car')).toEqual(['a ', 'blue', ' car']);
  expect(difference('same', 'same')).toEqual(['same', '', '']);
  expect(difference('', 'new')).toEqual(['', 'new', '']);
  expect(difference('the old car', 'the red car')).toEqual(['the ', 'red', ' car']);
  expect(difference('12', '123')).toEqual(['', '123', '']);
});
