/** Second: which tables go with which. What is alike is offered; any two can be chosen. */
import { Button, Checkbox, Group, Select, Stack, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import type { Catalog } from '../../api/schema';
import { sentence } from '../../parts/ProblemNote';
import { many } from '../../parts/words';
import { Told } from '../../parts/Told';
import { isSamePair, toggled } from './draft';
import { fullName } from './forms';
import { Keyless } from './Keyless';
import { catalog as catalogQuery, suggestions } from './offers';
import type { StepProps } from './Wizard';
import classes from './Wizard.module.css';

export function Tables({ draft, change }: StepProps) {
  const left = { name: draft.left ?? '', schema: draft.leftSchema };
  const right = { name: draft.right ?? '', schema: draft.rightSchema };
  const offered = useQuery(suggestions(left, right));
  const catalogs = [useQuery(catalogQuery(left.name)), useQuery(catalogQuery(right.name))] as const;
  return (
    <Told query={offered}>
      {(list) => {
        const chosen = draft.tables.filter((table) => !list.some((one) => isSamePair(one, table)));
        const rows = [...list, ...chosen.map((one) => ({ ...one, fields: 0, ready: true }))];
        return (
          <Stack gap="lg">
            <Text>
              {rows.length > 0
                ? 'Choose the tables to sync. Those that are alike come first.'
                : 'No two tables are called alike: choose below which go together.'}
            </Text>
            <ul className={classes.tables}>
              {rows.map((pair) => (
                <li key={`${pair.left} ${pair.right}`} className={classes.table}>
                  <Checkbox
                    label={`${pair.left} ↔ ${pair.right}`}
                    description={
                      pair.ready
                        ? pair.fields > 0 && `${many(pair.fields, 'field')} go together`
                        : obstacle(pair, catalogs[0].data, catalogs[1].data)
                    }
                    checked={draft.tables.some((table) => isSamePair(table, pair))}
                    disabled={!pair.ready}
                    onChange={() => change(toggled(draft, pair))}
                  />
                </li>
              ))}
            </ul>
            <OtherPair draft={draft} change={change} />
            {catalogs.map(
              ({ data }, at) =>
                data && (
                  <Keyless
                    key={at === 0 ? 'left' : 'right'}
                    connection={at === 0 ? left.name : right.name}
                    schema={at === 0 ? left.schema : right.schema}
                    catalog={data}
                  />
                ),
            )}
          </Stack>
        );
      }}
    </Told>
  );
}

/** What is in the way of a pair, of the first of both tables that can't be synced. */
function obstacle(
  pair: { left: string; right: string },
  left: Catalog | undefined,
  right: Catalog | undefined,
): string {
  const tables = [
    left?.tables.find((table) => fullName(table) === pair.left),
    right?.tables.find((table) => fullName(table) === pair.right),
  ];
  const problems = tables.flatMap((table) =>
    (table?.problems ?? [])
      .filter((problem) => problem.blocking)
      .map((problem) => `${table?.name ?? ''}: ${problem.message}`),
  );
  return problems[0] === undefined ? 'One of them can’t be synced as it is' : sentence(problems[0]);
}

/** Two tables that nothing suggests. */
function OtherPair({ draft, change }: StepProps) {
  const [pair, setPair] = useState<{ left: string | null; right: string | null }>({
    left: null,
    right: null,
  });
  const left = useQuery(catalogQuery(draft.left ?? ''));
  const right = useQuery(catalogQuery(draft.right ?? ''));
  const { left: one, right: other } = pair;
  const isThere = draft.tables.some((table) => table.left === one && table.right === other);
  return (
    <Group align="end">
      <Select
        label={`Another table of ${draft.left}`}
        data={names(left.data, draft.leftSchema)}
        value={one}
        onChange={(value) => setPair({ ...pair, left: value })}
        searchable
      />
      <Select
        label={`with one of ${draft.right}`}
        data={names(right.data, draft.rightSchema)}
        value={other}
        onChange={(value) => setPair({ ...pair, right: value })}
        searchable
      />
      <Button
        variant="default"
        disabled={!one || !other || isThere}
        onClick={() => {
          if (one && other) change(toggled(draft, { left: one, right: other }));
          setPair({ left: null, right: null });
        }}
      >
        Take them
      </Button>
    </Group>
  );
}

function names(catalog: Catalog | undefined, schema: string | null): string[] {
  return (catalog?.tables ?? [])
    .filter((table) => table.primary_key.length > 0 && (!schema || table.schema === schema))
    .map(fullName);
}
