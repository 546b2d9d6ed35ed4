/** A sync while it is being made: what each step adds, and the definition that comes of it. Pure. */
import type { FieldMap, SyncDefinition, TableSuggestion } from '../../api/schema';
import { writtenField } from './forms';

export type Direction = 'both' | 'left-to-right' | 'right-to-left';
export type FieldDraft = {
  /** Empty where `leftValue` stands in its place; so on the right. */
  left: string;
  right: string;
  direction: Direction;
  /** An expression over the record of that side, instead of one of its fields. */
  leftValue?: string;
  rightValue?: string;
  /** The left table of the pair whose records it names. */
  link?: string;
  /** Different words for the same. */
  values?: [string, string][];
  /** What a side holds where the other one is empty. */
  nullLeft?: string;
  nullRight?: string;
};
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
  /** Only tables of this schema are offered; null: of all. */
  leftSchema: string | null;
  rightSchema: string | null;
  tables: TableDraft[];
};

export const EMPTY: Draft = {
  name: '',
  left: null,
  right: null,
  leftSchema: null,
  rightSchema: null,
  tables: [],
};

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

/** Two fields that are foreign keys to the two tables of one pair. */
export type Linked = { left: string; right: string; link: string };

/**
 * With what the relay suggests, where nobody has mapped anything yet. Foreign keys are not copied as
 * they are where the records that they name are in the sync: those have other keys on the other side.
 */
export function mapped(table: TableDraft, map: FieldMap, linked: Linked[] = []): TableDraft {
  if (table.isMapped) return table;
  const key = map.suggested_key.map(([left = '', right = '']): [string, string] => [left, right]);
  const isLinked = (field: { left: string; right: string }) =>
    linked.some((one) => one.left === field.left || one.right === field.right);
  const plain = map.suggested
    .filter((field) => !isKey(key, field) && !isLinked(field))
    .map(({ left, right, direction }) => ({ left, right, direction: direction as Direction }));
  const links = linked
    .filter((one) => !key.some(([left, right]) => left === one.left || right === one.right))
    .map((one): FieldDraft => ({ ...one, direction: 'both' }));
  return { ...table, key, fields: [...plain, ...links], isMapped: true };
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

/** Which directions a field pair allows as it is: links and words ask nothing of the types. */
export function ways(map: FieldMap, field: FieldDraft): Direction[] {
  if (field.leftValue) return ['left-to-right'];
  if (field.rightValue) return ['right-to-left'];
  if (!isPlain(field)) return ['both', 'left-to-right', 'right-to-left'];
  return allowed(map, field.left, field.right);
}

/** Values travel as they are. */
export function isPlain(field: FieldDraft): boolean {
  return !field.link && !field.values && !field.leftValue && !field.rightValue;
}

export function why(map: FieldMap, left: string, right: string): string | null {
  return map.fits.find((one) => one.left === left && one.right === right)?.reason ?? null;
}

/** The direction after this one, round and round. */
export function turned(direction: Direction, among: Direction[]): Direction {
  const at = among.indexOf(direction);
  return among[(at + 1) % among.length] ?? direction;
}

/** With two fields mapped to each other; whatever either was mapped to is mapped no more. */
export function joined(table: TableDraft, map: FieldMap, left: string, right: string): TableDraft {
  const [direction] = allowed(map, left, right);
  return direction ? withField(table, { left, right, direction }) : table;
}

/** With this field pair, in place of those that had one of its ends. */
export function withField(table: TableDraft, field: FieldDraft): TableDraft {
  const isFree = (one: FieldDraft) =>
    (field.left === '' || one.left !== field.left) &&
    (field.right === '' || one.right !== field.right);
  return { ...table, fields: [...table.fields.filter(isFree), field] };
}

export function replaced(table: TableDraft, field: FieldDraft, by: FieldDraft): TableDraft {
  return { ...table, fields: table.fields.map((one) => (one === field ? by : one)) };
}

export function parted(table: TableDraft, field: FieldDraft): TableDraft {
  return { ...table, fields: table.fields.filter((one) => one !== field) };
}

/** With another match key; a field is not mapped beside it. */
export function keyed(table: TableDraft, key: [string, string][]): TableDraft {
  const isInKey = ({ left, right }: FieldDraft) =>
    key.some(([one, other]) => (left !== '' && one === left) || (right !== '' && other === right));
  return { ...table, key, fields: table.fields.filter((field) => !isInKey(field)) };
}

/** The steps in their order. */
export const STEPS = ['Sides', 'Tables', 'Data', 'Fields', 'Existing', 'Preview'] as const;

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
  if (step >= 3) {
    const keyless = draft.tables.find(
      ({ key }) => key.length === 0 || key.some(([left, right]) => !left || !right),
    );
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
      fields: table.fields.map(writtenField),
      existing: table.existing,
      changes: table.changes,
      ...(table.filterLeft.trim() ? { filter_left: table.filterLeft.trim() } : {}),
      ...(table.filterRight.trim() ? { filter_right: table.filterRight.trim() } : {}),
    })),
  };
}
