/** Tables without a primary key, and both ways to give them one, run from here once confirmed. */
import { Alert, Button, Modal, Radio, Stack, Text } from '@mantine/core';
import { IconKey } from '@tabler/icons-react';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { api, told } from '../../api/client';
import type { Catalog, CatalogTable, Fix } from '../../api/schema';
import { Copyable } from '../../parts/Copyable';
import { Section } from '../../parts/Page';
import { ProblemNote } from '../../parts/ProblemNote';
import { useMay } from '../entrance/Gate';
import { fullName } from './forms';
import classes from './Wizard.module.css';

type Props = { connection: string; schema: string | null; catalog: Catalog };

export function Keyless({ connection, schema, catalog }: Props) {
  const [chosen, setChosen] = useState<CatalogTable>();
  const tables = catalog.tables.filter(
    (table) => table.fixes.length > 0 && (!schema || table.schema === schema),
  );
  if (tables.length === 0) return null;
  return (
    <Section title={`Without a primary key in ${connection}`}>
      <Text size="sm" c="dimmed">
        A record is known by its primary key, so these can’t be synced yet.
      </Text>
      <ul className={classes.tables}>
        {tables.map((table) => (
          <li key={fullName(table)} className={`${classes.table} ${classes.keyless}`}>
            <span className={classes.field}>{fullName(table)}</span>
            <Button
              size="compact-sm"
              variant="default"
              leftSection={<IconKey size={14} aria-hidden />}
              aria-label={`Give it a key: ${fullName(table)}`}
              onClick={() => setChosen(table)}
            >
              Give it a key
            </Button>
          </li>
        ))}
      </ul>
      {chosen && (
        <GiveKey
          connection={connection}
          table={chosen}
          mayRun={catalog.allows_ddl ?? false}
          onClose={() => setChosen(undefined)}
        />
      )}
    </Section>
  );
}

type GiveProps = {
  connection: string;
  table: CatalogTable;
  /** The database’s side lets the relay change its schema. */
  mayRun: boolean;
  onClose: () => void;
};

function GiveKey({ connection, table, mayRun, onClose }: GiveProps) {
  const queries = useQueryClient();
  const isAdmin = useMay('admin');
  const [at, setAt] = useState('0');
  const fix = table.fixes[Number(at)];
  const look = () => {
    for (const name of ['catalog', 'suggestions', 'tested']) {
      void queries.invalidateQueries({ queryKey: [name] });
    }
    onClose();
  };
  const run = useMutation({
    mutationFn: (chosen: Fix) => {
      const column = chosen.kind === 'existing-column' ? { column: chosen.column } : {};
      const body = { table: fullName(table), expected: chosen.sql, ...column };
      const params = { path: { name: connection } };
      return told(api.POST('/api/v1/connections/{name}/fix-key', { params, body }));
    },
    onSuccess: look,
  });
  if (!fix) return null;
  const isHere = mayRun && isAdmin;
  return (
    <Modal opened onClose={onClose} title={`A primary key for ${fullName(table)}`} size="lg">
      <Stack gap="md">
        <Radio.Group label="What is its key?" value={at} onChange={setAt}>
          <Stack gap="xs" mt="xs">
            {table.fixes.map((one, index) => (
              <Radio key={`${one.kind} ${one.column}`} value={`${index}`} {...words(one)} />
            ))}
          </Stack>
        </Radio.Group>
        <Text size="sm">This is what runs in the database:</Text>
        <Copyable text={fix.sql.map((line) => `${line};`).join('\n')} label="SQL" />
        {!isHere && (
          <Alert color="blue" title="Run it there">
            {mayRun
              ? 'Only an admin may run it from here.'
              : 'The agent does not let this relay change the schema (allow_ddl in agent.toml).'}{' '}
            Run the statement in the database, then look again.
          </Alert>
        )}
        {run.isError && <ProblemNote thrown={run.error} title="The table has no key yet" />}
        {isHere ? (
          <Button loading={run.isPending} onClick={() => run.mutate(fix)}>
            Run it in {connection}
          </Button>
        ) : (
          <Button onClick={look}>Look again</Button>
        )}
      </Stack>
    </Modal>
  );
}

function words(fix: Fix): { label: string; description: string } {
  if (fix.kind === 'identity-column') {
    return {
      label: `A new column ${fix.column}, numbered by the database`,
      description: 'Recommended. Existing rows get numbers; nothing else changes.',
    };
  }
  return {
    label: `The column ${fix.column}, which is there`,
    description: 'Its values are unique and never empty now, and must stay so.',
  };
}
