/** Fifth: what becomes of the records that are there already, with what each choice would do. */
import { Button, Radio, Stack, Text } from '@mantine/core';
import { useQueries, useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import type { TablePreview } from '../../api/schema';
import { Section } from '../../parts/Page';
import { ProblemNote, sentence } from '../../parts/ProblemNote';
import { many } from '../../parts/words';
import { isSamePair, withTable, type Existing, type TableDraft } from './draft';
import { fullName } from './forms';
import { catalog as catalogQuery, outcomeOf } from './offers';
import type { StepProps } from './Wizard';

/** Up to so many records both sides are read without asking, once for each choice. */
const RECORDS_UNASKED = 50_000;
const CHOICES: Existing[] = ['merge', 'left-to-right', 'right-to-left', 'link-only'];

export function ExistingData({ draft, change }: StepProps) {
  const sides: [string, string] = [draft.left ?? '', draft.right ?? ''];
  const estimate = useEstimate(sides, draft.tables);
  const [isAsked, setAsked] = useState(false);
  const isCounted = isAsked || (estimate !== undefined && estimate <= RECORDS_UNASKED);
  const outcomes = useQueries({
    queries: CHOICES.map((choice) => outcomeOf(draft, choice, isCounted)),
  });
  const failed = outcomes.find((one) => one.isError);
  const problems = outcomes[0]?.data?.problems ?? [];
  return (
    <Stack gap="xl">
      {estimate !== undefined && !isCounted && (
        <div>
          <Text mb="xs">
            About {many(estimate, 'record')} are there. To count what each choice would do, both
            sides are read completely.
          </Text>
          <Button variant="default" onClick={() => setAsked(true)}>
            Count what each would do
          </Button>
        </div>
      )}
      {failed?.error && <ProblemNote thrown={failed.error} title="It could not be counted" />}
      {problems.map((problem) => (
        <Text key={problem} size="sm" role="alert">
          {sentence(problem)}
        </Text>
      ))}
      {draft.tables.map((table) => (
        <Section key={`${table.left} ${table.right}`} title={`${table.left} ↔ ${table.right}`}>
          {table.changes === 'future' ? (
            <Text c="dimmed">
              Only changes from now on are synced: records that are there are linked, and nothing is
              written.
            </Text>
          ) : (
            <There
              table={table}
              sides={sides}
              told={outcomes.map(({ data, isFetching }) =>
                isFetching ? 'counting' : data?.tables.find((one) => isSamePair(one, table)),
              )}
              onChange={(existing) => change(withTable(draft, { ...table, existing }))}
            />
          )}
        </Section>
      ))}
    </Stack>
  );
}

/** About how many records both sides have, as they say without reading them. */
function useEstimate([left, right]: [string, string], tables: TableDraft[]): number | undefined {
  const [one, other] = [useQuery(catalogQuery(left)), useQuery(catalogQuery(right))];
  if (!one.data || !other.data) return undefined;
  const rows = (catalog: typeof one.data, names: string[]) =>
    catalog.tables
      .filter((table) => names.includes(fullName(table)))
      .reduce((sum, table) => sum + table.row_estimate, 0);
  const lefts = tables.map((table) => table.left);
  const rights = tables.map((table) => table.right);
  return rows(one.data, lefts) + rows(other.data, rights);
}

type Outcome = TablePreview | 'counting' | undefined;
type ThereProps = {
  table: TableDraft;
  sides: [string, string];
  told: Outcome[];
  onChange: (existing: Existing) => void;
};

function There({ table, sides, told, onChange }: ThereProps) {
  const [left, right] = sides;
  const labels: Record<Existing, string> = {
    merge: 'Merge: each side gets what it lacks',
    'left-to-right': `${left} is right: ${right} is made like it`,
    'right-to-left': `${right} is right: ${left} is made like it`,
    'link-only': 'Only link what is the same; write nothing',
  };
  return (
    <Radio.Group
      label="What is there already"
      value={table.existing}
      onChange={(existing) => onChange(existing as Existing)}
    >
      <Stack gap="sm" mt="xs">
        {CHOICES.map((choice, at) => (
          <Radio
            key={choice}
            value={choice}
            label={labels[choice]}
            description={outcome(told[at], sides)}
          />
        ))}
      </Stack>
    </Radio.Group>
  );
}

function outcome(told: Outcome, [left, right]: [string, string]): string {
  if (told === undefined) return '';
  if (told === 'counting') return 'Counting…';
  const parts = [
    did('Creates', told.create_left, told.create_right, left, right),
    did('updates', told.update_left, told.update_right, left, right),
    did('deletes', told.delete_left, told.delete_right, left, right),
    told.link > 0 && `links ${many(told.link, 'record')}`,
    told.findings > 0 && `${many(told.findings, 'finding')}`,
  ].filter(Boolean);
  return parts.length === 0 ? 'Nothing to do.' : sentence(parts.join(', '));
}

function did(verb: string, inLeft: number, inRight: number, left: string, right: string) {
  const where = [
    inRight > 0 && `${many(inRight, 'record')} in ${right}`,
    inLeft > 0 && `${many(inLeft, 'record')} in ${left}`,
  ].filter(Boolean);
  return where.length > 0 && `${verb} ${where.join(' and ')}`;
}
