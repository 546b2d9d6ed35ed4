/** Second: which tables go with which. What is alike is offered; any two can be chosen. */
import { Alert, Button, Checkbox, Group, Select, Stack, Text } from '@mantine/core';
import { IconKeyOff } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { many } from '../../parts/words';
import { Told } from '../../parts/Told';
import { isSamePair, toggled } from './draft';
import { suggestions, tables as tablesQuery } from './offers';
import type { StepProps } from './Wizard';
import classes from './Wizard.module.css';

export function Tables({ draft, change }: StepProps) {
  const [left, right] = [draft.left ?? '', draft.right ?? ''];
  const offered = useQuery(suggestions(left, right));
  return (
    <Told query={offered}>
      {(list) => {
        const chosen = draft.tables.filter((table) => !list.some((one) => isSamePair(one, table)));
        const rows = [...list, ...chosen.map((one) => ({ ...one, fields: 0, ready: true }))];
        return (
          <Stack gap="lg">
            <Text>Choose the tables to sync. Those that are alike come first.</Text>
            <ul className={classes.tables}>
              {rows.map((pair) => (
                <li key={`${pair.left} ${pair.right}`} className={classes.table}>
                  <Checkbox
                    label={`${pair.left} ↔ ${pair.right}`}
                    description={
                      pair.ready
                        ? pair.fields > 0 && `${many(pair.fields, 'field')} go together`
                        : 'One of them has no primary key'
                    }
                    checked={draft.tables.some((table) => isSamePair(table, pair))}
                    disabled={!pair.ready}
                    onChange={() => change(toggled(draft, pair))}
                  />
                </li>
              ))}
            </ul>
            {list.some((pair) => !pair.ready) && (
              <Alert
                color="yellow"
                icon={<IconKeyOff aria-hidden />}
                title="A table without a primary key can’t be synced"
              >
                Give it one in the database, for example{' '}
                <code>
                  alter table t add column id int generated always as identity primary key
                </code>
                , or make a column that is unique and never null its key:{' '}
                <code>alter table t add primary key (title)</code>.
              </Alert>
            )}
            <OtherPair draft={draft} change={change} />
          </Stack>
        );
      }}
    </Told>
  );
}

/** Two tables that nothing suggests. */
function OtherPair({ draft, change }: StepProps) {
  const [pair, setPair] = useState<{ left: string | null; right: string | null }>({
    left: null,
    right: null,
  });
  const left = useQuery(tablesQuery(draft.left ?? ''));
  const right = useQuery(tablesQuery(draft.right ?? ''));
  const { left: one, right: other } = pair;
  const isThere = draft.tables.some((table) => table.left === one && table.right === other);
  return (
    <Group align="end">
      <Select
        label={`Another table of ${draft.left}`}
        data={left.data ?? []}
        value={one}
        onChange={(value) => setPair({ ...pair, left: value })}
        searchable
      />
      <Select
        label={`with one of ${draft.right}`}
        data={right.data ?? []}
        value={other}
        onChange={(value) => setPair({ ...pair, right: value })}
        searchable
      />
      <Button
        variant="default"
        disabled={!one || !other || isThere}
        onClick={() => one && other && change(toggled(draft, { left: one, right: other }))}
      >
        Take them
      </Button>
    </Group>
  );
}
