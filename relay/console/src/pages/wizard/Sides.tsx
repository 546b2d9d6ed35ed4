/** First: between which two, in either order, and what the sync is called. */
import { Button, Loader, Select, Stack, Text, TextInput } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { IconArrowsLeftRight, IconPlus } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import type { ConnectionInfo } from '../../api/schema';
import { connections as connectionsQuery } from '../../api/queries';
import { ProblemNote } from '../../parts/ProblemNote';
import { useMay } from '../entrance/Gate';
import { AddConnection } from '../connections/AddConnection';
import { Tested } from '../connections/Tested';
import { kindName } from '../connections/words';
import { catalog as catalogQuery, tested as testedQuery } from './offers';
import type { StepProps } from './Wizard';
import classes from './Wizard.module.css';

export function Sides({ draft, change }: StepProps) {
  const connections = useQuery(connectionsQuery);
  const mayAdd = useMay('admin');
  const [isAdding, add] = useDisclosure(false);
  const choose = (side: 'left' | 'right') => (value: string | null) =>
    // Other sides have other tables.
    change({ ...draft, [side]: value, [`${side}Schema`]: null, tables: [] });
  const narrow = (side: 'left' | 'right') => (value: string | null) =>
    change({ ...draft, [`${side}Schema`]: value, tables: [] });
  return (
    <Stack gap="lg">
      <TextInput
        label="Name of the sync"
        placeholder="blog"
        autoCapitalize="none"
        maw={420}
        value={draft.name}
        onChange={(event) => change({ ...draft, name: event.currentTarget.value })}
      />
      <div className={classes.pair}>
        <SideOf
          label="One side"
          connections={connections.data}
          value={draft.left}
          schema={draft.leftSchema}
          onChoose={choose('left')}
          onNarrow={narrow('left')}
        />
        <IconArrowsLeftRight className={classes.between} aria-hidden />
        <SideOf
          label="The other side"
          connections={connections.data}
          value={draft.right}
          schema={draft.rightSchema}
          onChoose={choose('right')}
          onNarrow={narrow('right')}
        />
      </div>
      <Text size="sm" c="dimmed">
        Which is left and which is right does not matter for what can be synced; it only names them.
      </Text>
      {mayAdd ? (
        <div>
          <Button
            variant="default"
            leftSection={<IconPlus size={16} aria-hidden />}
            onClick={add.open}
          >
            Add a connection
          </Button>
        </div>
      ) : (
        <Text size="sm" c="dimmed">
          A connection that is missing here is added by an admin.
        </Text>
      )}
      {isAdding && (
        <AddConnection
          onClose={add.close}
          onAdded={(name) => {
            if (draft.left === null) choose('left')(name);
            else if (draft.right === null) choose('right')(name);
          }}
        />
      )}
    </Stack>
  );
}

type SideProps = {
  label: string;
  connections: ConnectionInfo[] | undefined;
  value: string | null;
  schema: string | null;
  onChoose: (name: string | null) => void;
  onNarrow: (schema: string | null) => void;
};

function SideOf({ label, connections, value, schema, onChoose, onNarrow }: SideProps) {
  const options = (connections ?? []).map(({ name, kind }) => ({
    value: name,
    label: `${name} (${kindName(kind)})`,
  }));
  return (
    <Stack gap="sm" className={classes.side}>
      <Select
        label={label}
        placeholder="Choose a connection"
        data={options}
        value={value}
        onChange={onChoose}
        nothingFoundMessage="No connection yet"
      />
      {value !== null && <Reached name={value} />}
      {value !== null && <Schema name={value} value={schema} onChange={onNarrow} />}
    </Stack>
  );
}

/** Whether the chosen one can be used, tested at once. */
function Reached({ name }: { name: string }) {
  const test = useQuery(testedQuery(name));
  if (test.isPending) {
    return (
      <Text size="sm" c="dimmed" role="status" className={classes.testing}>
        <Loader size={14} aria-hidden /> Testing the connection
      </Text>
    );
  }
  if (test.isError) {
    return (
      <ProblemNote
        thrown={test.error}
        title="It can’t be reached"
        onRetry={() => void test.refetch()}
      />
    );
  }
  return <Tested test={test.data} />;
}

type SchemaProps = {
  name: string;
  value: string | null;
  onChange: (schema: string | null) => void;
};

/** Which of a database's schemas is meant, where there are several. */
function Schema({ name, value, onChange }: SchemaProps) {
  const found = useQuery(catalogQuery(name));
  const schemas = [...new Set(found.data?.tables.map((table) => table.schema) ?? [])].toSorted();
  if (schemas.length < 2) return null;
  return (
    <Select
      label={`Schema of ${name}`}
      placeholder="All of them"
      clearable
      data={schemas}
      value={value}
      onChange={onChange}
    />
  );
}
