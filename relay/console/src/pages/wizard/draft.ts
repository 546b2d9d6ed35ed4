/** A sync while it is being made: what each step adds, and the definition that comes of it. Pure. */
import type { FieldMap, SyncDefinition, TableSuggestion } from '../../api/schema';

export type Direction = 'both' | 'left-to-right' | 'right-to-left';
export type FieldDraft = { left: string; right: string; direction: Direction };
export type Existing = 'merge' | 'left-to-right' | 'right-to-left' | 'link-only';
export type Changes = 'both' | 'existing' | 'future';

export type TableDraft = {
  left: string;
  right: string;
  key: [string, string][];
  /** Beside the key. */
  fields: FieldDraft[];
  /** False until the fields were suggested: an empty list may also be a person's choice. */
  isMapped: boolean;
  existing: Existing;
  changes: Changes;
  filterLeft: string;
  filterRight: string;
};

export type Draft = {
  name: string;
  left: string | null;
  right: string | null;
  tables: TableDraft[];
};

export const EMPTY: Draft = { name: '', left: null, right: null, tables: [] };

export function newTable(pair: Pick<TableSuggestion, 'left' | 'right'>): TableDraft {
  return {
    left: pair.left,
    right: pair.right,
    key: [],
    fields: [],
    isMapped: false,
    existing: 'merge',
    changes: 'both',
    filterLeft: '',
    filterRight: '',
  };
}

export function isSamePair(a: { left: string; right: string }, b: typeof a): boolean {
  return a.left === b.left && a.right === b.right;
}

/** With a pair of tables taken in, or left out where it was in. */
export function toggled(draft: Draft, pair: { left: string; right: string }): Draft {
  const rest = draft.tables.filter((table) => !isSamePair(table, pair));
  const isNew = rest.length === draft.tables.length;
  return { ...draft, tables: isNew ? [...rest, newTable(pair)] : rest };
}

export function withTable(draft: Draft, changed: TableDraft): Draft {
  const tables = draft.tables.map((table) => (isSamePair(table, changed) ? changed : table));
  return { ...draft, tables };
}

/** With what the relay suggests, where nobody has mapped anything yet. */
export function mapped(table: TableDraft, map: FieldMap): TableDraft {
  if (table.isMapped) return table;
  const key = map.suggested_key.map(([left = '', right = '']): [string, string] => [left, right]);
  const fields = map.suggested
    .filter((field) => !isKey(key, field))
    .map(({ left, right, direction }) => ({ left, right, direction: direction as Direction }));
  return { ...table, key, fields, isMapped: true };
}

function isKey(key: [string, string][], field: { left: string; right: string }): boolean {
  return key.some(([left, right]) => left === field.left && right === field.right);
}

/** Which directions two fields allow, the best first; empty: they don't go together. */
export function allowed(map: FieldMap, left: string, right: string): Direction[] {
  const fit = map.fits.find((one) => one.left === left && one.right === right);
  switch (fit?.fits) {
    case 'lossless':
      return ['both', 'left-to-right', 'right-to-left'];
    case 'left-to-right':
      return ['left-to-right'];
    case 'right-to-left':
      return ['right-to-left'];
    default:
      return [];
  }
}

export function why(map: FieldMap, left: string, right: string): string | null {
  return map.fits.find((one) => one.left === left && one.right === right)?.reason ?? null;
}

/** The direction after this one, round and round. */
export function turned(direction: Direction, ways: Direction[]): Direction {
  const at = ways.indexOf(direction);
  return ways[(at + 1) % ways.length] ?? direction;
}

/** With two fields mapped to each other; whatever either was mapped to is mapped no more. */
export function joined(table: TableDraft, map: FieldMap, left: string, right: string): TableDraft {
  const [direction] = allowed(map, left, right);
  if (!direction) return table;
  const rest = table.fields.filter((field) => field.left !== left && field.right !== right);
  return { ...table, fields: [...rest, { left, right, direction }] };
}

export function parted(table: TableDraft, field: FieldDraft): TableDraft {
  return { ...table, fields: table.fields.filter((one) => one !== field) };
}

/** What keeps one from going on, in the order of the steps; undefined: nothing. */
export function missing(draft: Draft, step: number): string | undefined {
  if (step >= 0) {
    if (!draft.left || !draft.right) return 'Choose both sides.';
    if (draft.left === draft.right) return 'Choose two different connections.';
    if (!/^[a-z0-9][a-z0-9._-]*$/.test(draft.name)) {
      return 'Give it a name of small letters, digits and hyphens.';
    }
  }
  if (step >= 1 && draft.tables.length === 0) return 'Choose at least one pair of tables.';
  if (step >= 2) {
    const keyless = draft.tables.find((table) => table.key.length === 0);
    if (keyless) return `Say which fields of ${keyless.left} tell its records apart.`;
  }
  return undefined;
}

export function definitionOf(draft: Draft): SyncDefinition {
  return {
    name: draft.name,
    left: draft.left ?? '',
    right: draft.right ?? '',
    table: draft.tables.map((table) => ({
      left: table.left,
      right: table.right,
      key: table.key,
      fields: table.fields,
      existing: table.existing,
      changes: table.changes,
      ...(table.filterLeft.trim() ? { filter_left: table.filterLeft.trim() } : {}),
      ...(table.filterRight.trim() ? { filter_right: table.filterRight.trim() } : {}),
    })),
  };
}
