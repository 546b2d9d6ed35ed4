/** Third: which records of each table are in the sync. */
import { Radio, Stack, Text, TextInput } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { useQuery } from '@tanstack/react-query';
import { refusalOf } from '../../api/problem';
import { Section } from '../../parts/Page';
import { counted, many } from '../../parts/words';
import { withTable, type Changes, type TableDraft } from './draft';
import { countOf } from './offers';
import type { StepProps } from './Wizard';
import classes from './Wizard.module.css';

const TYPING_MS = 400;

export function Data({ draft, change }: StepProps) {
  const [left, right] = [draft.left ?? '', draft.right ?? ''];
  return (
    <Stack gap="xl">
      {draft.tables.map((table) => {
        const set = (more: Partial<TableDraft>) => change(withTable(draft, { ...table, ...more }));
        return (
          <Section key={`${table.left} ${table.right}`} title={`${table.left} ↔ ${table.right}`}>
            <Radio.Group
              label="Which data"
              value={table.changes}
              onChange={(changes) => set({ changes: changes as Changes })}
            >
              <Stack gap="xs" mt="xs">
                <Radio value="both" label="What is there, and every change from now on" />
                <Radio value="existing" label="What is there, once" />
                <Radio value="future" label="Only changes from now on" />
              </Stack>
            </Radio.Group>
            <div className={classes.halves}>
              <Filter
                label={`Only records of ${left} where`}
                connection={left}
                table={table.left}
                value={table.filterLeft}
                onChange={(filterLeft) => set({ filterLeft })}
              />
              <Filter
                label={`Only records of ${right} where`}
                connection={right}
                table={table.right}
                value={table.filterRight}
                onChange={(filterRight) => set({ filterRight })}
              />
            </div>
          </Section>
        );
      })}
    </Stack>
  );
}

type FilterProps = {
  label: string;
  connection: string;
  table: string;
  value: string;
  onChange: (value: string) => void;
};

function Filter({ label, connection, table, value, onChange }: FilterProps) {
  const [asked] = useDebouncedValue(value.trim(), TYPING_MS);
  const count = useQuery(countOf(connection, table, asked));
  const error = count.isError ? refusalOf(count.error).message : undefined;
  return (
    <div>
      <TextInput
        label={label}
        description="An expression over its fields; leaving the filter never deletes a record."
        placeholder='status == "published"'
        autoCapitalize="none"
        spellCheck={false}
        value={value}
        error={error}
        onChange={(event) => onChange(event.currentTarget.value)}
      />
      <Text size="sm" c="dimmed" mt={4} role="status">
        {count.data
          ? `${counted(count.data.matching)} of ${many(count.data.read, 'record')}${count.data.complete ? '' : ' looked at'}`
          : ' '}
      </Text>
    </div>
  );
}
