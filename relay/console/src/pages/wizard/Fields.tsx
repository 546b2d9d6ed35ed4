/** Third: which fields go with which, and in which direction. */
import { Accordion, Stack, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useEffect } from 'react';
import { Told } from '../../parts/Told';
import { many } from '../../parts/words';
import { mapped, withTable, type TableDraft } from './draft';
import { FieldPairs } from './FieldPairs';
import { fieldMap } from './offers';
import type { StepProps } from './Wizard';

export function Fields({ draft, change }: StepProps) {
  return (
    <Stack gap="md">
      <Text>
        Fields were put together by name and type. Drag a field of {draft.right} onto one of{' '}
        {draft.left}, or choose it in the list below; the arrow says which way values go.
      </Text>
      <Accordion multiple variant="separated" defaultValue={['pair-0']}>
        {draft.tables.map((table, at) => (
          <Accordion.Item key={`${table.left} ${table.right}`} value={`pair-${at}`}>
            <Accordion.Control>
              <Text fw={600}>
                {table.left} ↔ {table.right}
              </Text>
              <Text size="sm" c="dimmed">
                {many(table.fields.length + table.key.length, 'field')}
              </Text>
            </Accordion.Control>
            <Accordion.Panel>
              <TableFields
                sides={[draft.left ?? '', draft.right ?? '']}
                table={table}
                change={(changed) => change(withTable(draft, changed))}
              />
            </Accordion.Panel>
          </Accordion.Item>
        ))}
      </Accordion>
    </Stack>
  );
}

type Props = {
  sides: [string, string];
  table: TableDraft;
  change: (table: TableDraft) => void;
};

function TableFields({ sides, table, change }: Props) {
  const found = useQuery(fieldMap(sides, table));
  const map = found.data;
  useEffect(() => {
    if (map && !table.isMapped) change(mapped(table, map));
  }, [map, table, change]);
  return (
    <Told query={found}>
      {(known) => <FieldPairs sides={sides} table={table} map={known} change={change} />}
    </Told>
  );
}
