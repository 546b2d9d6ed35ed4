/** Fourth: which fields go with which, in which direction, and what happens to values on the way. */
import { Accordion, Stack, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useEffect } from 'react';
import type { Catalog } from '../../api/schema';
import { Told } from '../../parts/Told';
import { many } from '../../parts/words';
import { mapped, withTable, type Draft, type TableDraft } from './draft';
import { FieldPairs } from './FieldPairs';
import { fullName, linksOf } from './forms';
import { catalog as catalogQuery, fieldMap } from './offers';
import type { StepProps } from './Wizard';

export function Fields({ draft, change }: StepProps) {
  const left = useQuery(catalogQuery(draft.left ?? ''));
  const right = useQuery(catalogQuery(draft.right ?? ''));
  return (
    <Stack gap="md">
      <Text>
        Fields were put together by name and type. Drag a field of {draft.right} onto one of{' '}
        {draft.left}, or choose it in the list below; the arrow says which way values go.
      </Text>
      <Told query={left}>
        {(ofLeft) => (
          <Told query={right}>
            {(ofRight) => (
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
                        draft={draft}
                        table={table}
                        catalogs={[ofLeft, ofRight]}
                        change={(changed) => change(withTable(draft, changed))}
                      />
                    </Accordion.Panel>
                  </Accordion.Item>
                ))}
              </Accordion>
            )}
          </Told>
        )}
      </Told>
    </Stack>
  );
}

type Props = {
  draft: Draft;
  table: TableDraft;
  catalogs: [Catalog, Catalog];
  change: (table: TableDraft) => void;
};

function TableFields({ draft, table, catalogs: [left, right], change }: Props) {
  const sides: [string, string] = [draft.left ?? '', draft.right ?? ''];
  const found = useQuery(fieldMap(sides, table));
  const map = found.data;
  const linked = linksOf(
    left.tables.find((one) => fullName(one) === table.left),
    right.tables.find((one) => fullName(one) === table.right),
    draft.tables,
  );
  useEffect(() => {
    if (map && !table.isMapped) change(mapped(table, map, linked));
  }, [map, table, change, linked]);
  return (
    <Told query={found}>
      {(known) => (
        <FieldPairs sides={sides} table={table} pairs={draft.tables} map={known} change={change} />
      )}
    </Told>
  );
}
