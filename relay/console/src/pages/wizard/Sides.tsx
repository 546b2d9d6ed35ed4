/** First: between which two, in either order, and what the sync is called. */
import { Button, Select, Stack, Text, TextInput } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { IconArrowsLeftRight, IconPlus } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { connections as connectionsQuery } from '../../api/queries';
import { AddConnection } from '../connections/AddConnection';
import { kindName } from '../connections/words';
import type { StepProps } from './Wizard';
import classes from './Wizard.module.css';

export function Sides({ draft, change }: StepProps) {
  const connections = useQuery(connectionsQuery);
  const [isAdding, add] = useDisclosure(false);
  const options = (connections.data ?? []).map(({ name, kind }) => ({
    value: name,
    label: `${name} (${kindName(kind)})`,
  }));
  const choose = (side: 'left' | 'right') => (value: string | null) =>
    // Other sides have other tables.
    change({ ...draft, [side]: value, tables: [] });
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
        <Select
          label="One side"
          placeholder="Choose a connection"
          data={options}
          value={draft.left}
          onChange={choose('left')}
          nothingFoundMessage="No connection yet"
        />
        <IconArrowsLeftRight aria-hidden />
        <Select
          label="The other side"
          placeholder="Choose a connection"
          data={options}
          value={draft.right}
          onChange={choose('right')}
          nothingFoundMessage="No connection yet"
        />
      </div>
      <Text size="sm" c="dimmed">
        Which is left and which is right does not matter for what can be synced; it only names them.
      </Text>
      <div>
        <Button
          variant="default"
          leftSection={<IconPlus size={16} aria-hidden />}
          onClick={add.open}
        >
          Add a connection
        </Button>
      </div>
      {isAdding && <AddConnection onClose={add.close} />}
    </Stack>
  );
}
