/** What a field pair is beside two plain fields, in the words of sync files and of people. Pure. */
import type { CatalogTable, FieldDefinition } from '../../api/schema';
import type { FieldDraft, Linked, TableDraft } from './draft';

type Scalar = string | number | boolean;

/** A word as sync files have it: whole numbers, `true` and `false` are no texts. */
export function scalar(text: string): Scalar {
  const trimmed = text.trim();
  if (/^-?(0|[1-9]\d{0,14})$/.test(trimmed)) return Number(trimmed);
  if (trimmed === 'true') return true;
  if (trimmed === 'false') return false;
  return text;
}

/** A quoted word is the text between the marks: `"12"` where a field holds texts of digits. */
function word(text: string): Scalar {
  const quoted = /^"(.*)"$/s.exec(text.trim());
  return quoted ? (quoted[1] ?? '') : scalar(text);
}

export function writtenField(field: FieldDraft): FieldDefinition {
  const { left, right, leftValue, rightValue, direction, link, values, nullLeft, nullRight } =
    field;
  return {
    ...(leftValue ? { left_value: leftValue } : { left }),
    ...(rightValue ? { right_value: rightValue } : { right }),
    // A computed field flows away from its expression, which needs no saying.
    ...(leftValue || rightValue ? {} : { direction }),
    ...(link ? { link } : {}),
    ...(values?.length ? { values: values.map(([one, other]) => [word(one), word(other)]) } : {}),
    ...(nullLeft !== undefined ? { null_left: word(nullLeft) } : {}),
    ...(nullRight !== undefined ? { null_right: word(nullRight) } : {}),
  } as FieldDefinition;
}

/** What a field pair does with values, in a few words; undefined: it carries them over as they are. */
export function form(field: FieldDraft): string | undefined {
  if (field.leftValue || field.rightValue) return 'computed';
  if (field.link) return `names a record of ${field.link}`;
  const count = field.values?.length ?? 0;
  if (count > 0) return count === 1 ? '1 word mapped' : `${count} words mapped`;
  if (field.nullLeft !== undefined || field.nullRight !== undefined) return 'with words for empty';
  return undefined;
}

/** As sync files name a table. */
export function fullName(table: CatalogTable): string {
  return table.schema ? `${table.schema}.${table.name}` : table.name;
}

/** Foreign keys of one field on both sides, whose tables are a pair of the sync. */
export function linksOf(
  left: CatalogTable | undefined,
  right: CatalogTable | undefined,
  pairs: Pick<TableDraft, 'left' | 'right'>[],
): Linked[] {
  const keys = (table: CatalogTable | undefined) =>
    (table?.foreign_keys ?? []).flatMap(({ columns, table: named }) => {
      const [only, ...more] = columns;
      return only !== undefined && more.length === 0 ? [{ column: only, named }] : [];
    });
  const rights = keys(right);
  const taken = new Set<string>();
  return keys(left).flatMap(({ column, named }) => {
    const pair = pairs.find((one) => one.left === named);
    const candidates = rights.filter((one) => one.named === pair?.right && !taken.has(one.column));
    const other = candidates.find((one) => one.column === column) ?? candidates[0];
    if (!pair || !other) return [];
    taken.add(other.column);
    return [{ left: column, right: other.column, link: pair.left }];
  });
}
