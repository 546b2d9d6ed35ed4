/** The fields of one pair of tables: key, pairs, and what is not mapped yet. By mouse and by keyboard. */
import { ActionIcon, Alert, Button, Group, Select, Stack, Text, Tooltip } from '@mantine/core';
import {
  IconArrowLeft,
  IconArrowRight,
  IconArrowsLeftRight,
  IconKey,
  IconX,
} from '@tabler/icons-react';
import { useState, type DragEvent } from 'react';
import type { FieldMap } from '../../api/schema';
import { allowed, joined, parted, turned, why, type FieldDraft, type TableDraft } from './draft';
import classes from './Wizard.module.css';

const ARROWS = {
  both: { icon: IconArrowsLeftRight, words: 'both ways' },
  'left-to-right': { icon: IconArrowRight, words: 'from left to right' },
  'right-to-left': { icon: IconArrowLeft, words: 'from right to left' },
};

/** What a drag carries. */
const KIND = 'application/x-tidegate-field';

type Props = {
  sides: [string, string];
  table: TableDraft;
  map: FieldMap;
  change: (table: TableDraft) => void;
};

export function FieldPairs({ sides, table, map, change }: Props) {
  const used = [...table.key, ...table.fields.map(({ left, right }) => [left, right] as const)];
  const free = map.right.filter(({ name }) => !used.some(([, right]) => right === name));
  const unmapped = map.left.filter(({ name }) => !used.some(([left]) => left === name));
  return (
    <div className={classes.mapping}>
      <Stack gap="md">
        <Key sides={sides} table={table} map={map} change={change} />
        <ul className={classes.rows} aria-label="Mapped fields">
          {table.fields.map((field) => (
            <Pair
              key={field.left}
              field={field}
              map={map}
              onTurn={(direction) => {
                const fields = table.fields.map((one) =>
                  one === field ? { ...field, direction } : one,
                );
                change({ ...table, fields });
              }}
              onPart={() => change(parted(table, field))}
              onDrop={(right) => change(joined(table, map, field.left, right))}
            />
          ))}
          {unmapped.map(({ name }) => (
            <Open
              key={name}
              left={name}
              onDrop={(right) => change(joined(table, map, name, right))}
            />
          ))}
        </ul>
        <ByKeyboard left={unmapped} right={free} table={table} map={map} change={change} />
      </Stack>
      <Stack gap="xs">
        <Text fw={600} size="sm">
          Not mapped in {sides[1]}
        </Text>
        {free.length === 0 && (
          <Text size="sm" c="dimmed">
            Nothing.
          </Text>
        )}
        <ul className={classes.shelf} aria-label={`Not mapped in ${sides[1]}`}>
          {free.map(({ name, type_name: type }) => (
            <li key={name}>
              <Tooltip label={type}>
                <span
                  className={classes.chip}
                  draggable
                  onDragStart={(event) => event.dataTransfer.setData(KIND, name)}
                >
                  {name}
                </span>
              </Tooltip>
            </li>
          ))}
        </ul>
      </Stack>
    </div>
  );
}

/** Lets a dragged field fall here. */
function useDrop(onDrop: (right: string) => void) {
  const [isOver, setOver] = useState(false);
  const props = {
    onDragOver: (event: DragEvent) => {
      if (!event.dataTransfer.types.includes(KIND)) return;
      event.preventDefault();
      setOver(true);
    },
    onDragLeave: () => setOver(false),
    onDrop: (event: DragEvent) => {
      event.preventDefault();
      setOver(false);
      onDrop(event.dataTransfer.getData(KIND));
    },
  };
  return [isOver, props] as const;
}

type PairProps = {
  field: FieldDraft;
  map: FieldMap;
  onTurn: (direction: FieldDraft['direction']) => void;
  onPart: () => void;
  onDrop: (right: string) => void;
};

function Pair({ field, map, onTurn, onPart, onDrop }: PairProps) {
  const [isOver, drop] = useDrop(onDrop);
  const ways = allowed(map, field.left, field.right);
  const reason = why(map, field.left, field.right);
  const { icon: Arrow, words } = ARROWS[field.direction];
  const told = `${field.left} and ${field.right}: ${words}`;
  return (
    <li className={`${classes.row} ${isOver ? classes.target : ''}`} {...drop}>
      <span className={classes.field}>{field.left}</span>
      <Tooltip label={reason ? `${words}: ${reason}` : words}>
        <ActionIcon
          variant="light"
          aria-label={told}
          onClick={() => onTurn(turned(field.direction, ways))}
        >
          <Arrow size={18} aria-hidden />
        </ActionIcon>
      </Tooltip>
      <span className={classes.field}>{field.right}</span>
      <ActionIcon
        variant="subtle"
        color="gray"
        aria-label={`Remove ${field.left} and ${field.right}`}
        onClick={onPart}
      >
        <IconX size={16} aria-hidden />
      </ActionIcon>
    </li>
  );
}

function Open({ left, onDrop }: { left: string; onDrop: (right: string) => void }) {
  const [isOver, drop] = useDrop(onDrop);
  return (
    <li className={`${classes.row} ${isOver ? classes.target : ''}`} {...drop}>
      <span className={classes.field}>{left}</span>
      <span aria-hidden>–</span>
      <Text component="span" size="sm" c="dimmed">
        not synced
      </Text>
    </li>
  );
}

function Key({ sides, table, map, change }: Props) {
  const choose = (left: string, right: string) => {
    const fields = table.fields.filter((field) => field.left !== left && field.right !== right);
    change({ ...table, key: [[left, right]], fields });
  };
  const [left = null, right = null] = table.key[0] ?? [];
  const names = (list: FieldMap['left']) => list.map(({ name }) => name);
  if (table.key.length > 1) {
    return (
      <Alert color="blue" icon={<IconKey aria-hidden />} title="Records are the same where">
        {table.key.map(([one, other]) => `${one} = ${other}`).join(' and ')}
      </Alert>
    );
  }
  return (
    <Group align="end">
      <Select
        label={`Records are the same where ${sides[0]}’s`}
        data={names(map.left)}
        value={left}
        onChange={(value) => value && choose(value, right ?? '')}
        leftSection={<IconKey size={16} aria-hidden />}
      />
      <Select
        label={`equals ${sides[1]}’s`}
        data={names(map.right)}
        value={right}
        onChange={(value) => value && choose(left ?? '', value)}
        leftSection={<IconKey size={16} aria-hidden />}
      />
    </Group>
  );
}

type ByKeyboardProps = {
  left: FieldMap['left'];
  right: FieldMap['right'];
  table: TableDraft;
  map: FieldMap;
  change: (table: TableDraft) => void;
};

function ByKeyboard({ left, right, table, map, change }: ByKeyboardProps) {
  const [pair, setPair] = useState<[string | null, string | null]>([null, null]);
  const [one, other] = pair;
  const fits = one && other ? allowed(map, one, other).length > 0 : undefined;
  if (left.length === 0 || right.length === 0) return null;
  return (
    <Stack gap="xs">
      <Group align="end">
        <Select
          label="Add a field"
          data={left.map(({ name }) => name)}
          value={one}
          onChange={(value) => setPair([value, other])}
        />
        <Select
          label="with"
          data={right.map(({ name }) => name)}
          value={other}
          onChange={(value) => setPair([one, value])}
        />
        <Button
          variant="default"
          disabled={!fits}
          onClick={() => {
            if (one && other) change(joined(table, map, one, other));
            setPair([null, null]);
          }}
        >
          Map
        </Button>
      </Group>
      {fits === false && one && other && (
        <Text size="sm" role="status">
          These don’t go together: {why(map, one, other)}.
        </Text>
      )}
    </Stack>
  );
}
