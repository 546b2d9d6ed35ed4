/** Conflicts of one kind together: what a person may decide at once. Pure. */
import type { ConflictReport } from '../../api/schema';

export type Group = {
  sync: string;
  table: string;
  /** Null: changed here, deleted there. */
  field: string | null;
  conflicts: ConflictReport[];
};

/** By sync, table and field, in the order in which they are first met. */
export function grouped(conflicts: ConflictReport[]): Group[] {
  const groups = new Map<string, Group>();
  for (const conflict of conflicts) {
    const { sync = '', table } = conflict;
    const field = conflict.left_field ?? null;
    const name = JSON.stringify([sync, table, field]);
    const group = groups.get(name) ?? { sync, table, field, conflicts: [] };
    group.conflicts.push(conflict);
    groups.set(name, group);
  }
  return [...groups.values()];
}

/** The newest that a person has seen: later ones are not meant by what is decided now. */
export function newest(conflicts: ConflictReport[]): number {
  return Math.max(0, ...conflicts.map(({ id }) => id));
}

/** What a value has other than the one before: its whole words between what both begin and end with. */
export function difference(base: string, value: string): [string, string, string] {
  const most = Math.min(base.length, value.length);
  let start = 0;
  while (start < most && base[start] === value[start]) start += 1;
  let end = 0;
  while (end < most - start && base[base.length - 1 - end] === value[value.length - 1 - end]) {
    end += 1;
  }
  let stop = value.length - end;
  if (start === value.length && value.length === base.length) return [value, '', ''];
  while (start > 0 && !isBreak(value[start - 1])) start -= 1;
  while (stop < value.length && !isBreak(value[stop])) stop += 1;
  return [value.slice(0, start), value.slice(start, stop), value.slice(stop)];
}

function isBreak(sign: string | undefined): boolean {
  return sign === undefined || /\s/.test(sign);
}
