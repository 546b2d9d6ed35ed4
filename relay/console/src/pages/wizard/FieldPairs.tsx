/** The fields of one pair of tables: key, pairs, and what is not mapped yet. By mouse and by keyboard. */
import { ActionIcon, Group, Stack, Text, Tooltip } from '@mantine/core';
import {
  IconAdjustments,
  IconArrowLeft,
  IconArrowRight,
  IconArrowsLeftRight,
  IconX,
} from '@tabler/icons-react';
import { useState, type DragEvent } from 'react';
import type { FieldInfo, FieldMap } from '../../api/schema';
import { sentence } from '../../parts/ProblemNote';
import {
  allowed,
  isPlain,
  joined,
  parted,
  replaced,
  turned,
  ways,
  why,
  withField,
  type FieldDraft,
  type TableDraft,
} from './draft';
import { AddField } from './AddField';
import { FieldForm } from './FieldForm';
import { form } from './forms';
import { MatchKey } from './MatchKey';
import classes from './Wizard.module.css';

const ARROWS = {
  both: { icon: IconArrowsLeftRight, words: 'both ways' },
  'left-to-right': { icon: IconArrowRight, words: 'from left to right' },
  'right-to-left': { icon: IconArrowLeft, words: 'from right to left' },
};

/** What a drag carries. */
const KIND = 'application/x-tidegate-field';

export type PairsProps = {
  sides: [string, string];
  table: TableDraft;
  /** All pairs of the sync: what links may lead to. */
  pairs: Pick<TableDraft, 'left' | 'right'>[];
  map: FieldMap;
  change: (table: TableDraft) => void;
};

export function FieldPairs({ sides, table, pairs, map, change }: PairsProps) {
  const [refused, setRefused] = useState<[string, string]>();
  const [shaped, setShaped] = useState<FieldDraft>();
  const used = [...table.key, ...table.fields.map(({ left, right }) => [left, right] as const)];
  const free = map.right.filter(({ name }) => !used.some(([, right]) => right === name));
  const unmapped = map.left.filter(({ name }) => !used.some(([left]) => left === name));
  const drop = (left: string) => (right: string) => {
    const fits = allowed(map, left, right).length > 0;
    setRefused(fits ? undefined : [left, right]);
    if (fits) change(joined(table, map, left, right));
  };
  return (
    <div className={classes.mapping}>
      <Stack gap="md">
        <MatchKey sides={sides} table={table} map={map} change={change} />
        <ul className={classes.rows} aria-label="Mapped fields">
          {table.fields.map((field) => (
            <Pair
              key={`${field.left} ${field.leftValue ?? ''} ${field.right}`}
              field={field}
              map={map}
              onTurn={(direction) => change(replaced(table, field, { ...field, direction }))}
              onShape={() => setShaped(field)}
              onPart={() => change(parted(table, field))}
              onDrop={drop(field.left)}
            />
          ))}
          {unmapped.map((field) => (
            <Open key={field.name} field={field} onDrop={drop(field.name)} />
          ))}
        </ul>
        {refused && (
          <Text size="sm" role="alert" className={classes.refused}>
            {refused[0]} and {refused[1]} don’t go together as they are:{' '}
            {sentence(why(map, ...refused) ?? 'their types differ')} Map words or link records
            below, if that is meant.
          </Text>
        )}
        <AddField
          sides={sides}
          left={unmapped}
          right={free}
          map={map}
          pairs={pairs}
          onAdd={(field) => {
            setRefused(undefined);
            change(withField(table, field));
          }}
          onShape={setShaped}
        />
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
              <span
                className={classes.chip}
                draggable
                onDragStart={(event) => event.dataTransfer.setData(KIND, name)}
              >
                {name} <span className={classes.type}>{type}</span>
              </span>
            </li>
          ))}
        </ul>
      </Stack>
      {shaped && (
        <FieldForm
          field={shaped}
          sides={sides}
          map={map}
          pairs={pairs}
          onSave={(field) => {
            const isThere = table.fields.includes(shaped);
            change(isThere ? replaced(table, shaped, field) : withField(table, field));
            setShaped(undefined);
          }}
          onClose={() => setShaped(undefined)}
        />
      )}
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
  onShape: () => void;
  onPart: () => void;
  onDrop: (right: string) => void;
};

function Pair({ field, map, onTurn, onShape, onPart, onDrop }: PairProps) {
  const [isOver, drop] = useDrop(onDrop);
  const among = ways(map, field);
  const reason = isPlain(field) ? why(map, field.left, field.right) : null;
  const { icon: Arrow, words } = ARROWS[field.direction];
  const [left, right] = [
    field.left || `= ${field.leftValue}`,
    field.right || `= ${field.rightValue}`,
  ];
  const isComputed = Boolean(field.leftValue ?? field.rightValue);
  const told = `${left} and ${right}: ${words}`;
  const note = form(field) ?? (among.length === 1 ? reason : undefined);
  return (
    <li className={`${classes.row} ${isOver ? classes.target : ''}`} {...drop}>
      <Named name={left} type={typeOf(map.left, field.left)} />
      <Tooltip label={words}>
        <ActionIcon
          variant="light"
          aria-label={told}
          disabled={among.length < 2}
          onClick={() => onTurn(turned(field.direction, among))}
        >
          <Arrow size={18} aria-hidden />
        </ActionIcon>
      </Tooltip>
      <Named name={right} type={typeOf(map.right, field.right)} />
      <Group gap={4} wrap="nowrap" justify="flex-end">
        {!isComputed && (
          <Tooltip label="Words and links">
            <ActionIcon
              variant="subtle"
              color="gray"
              aria-label={`Words and links of ${left} and ${right}`}
              onClick={onShape}
            >
              <IconAdjustments size={16} aria-hidden />
            </ActionIcon>
          </Tooltip>
        )}
        <ActionIcon
          variant="subtle"
          color="gray"
          aria-label={`Remove ${left} and ${right}`}
          onClick={onPart}
        >
          <IconX size={16} aria-hidden />
        </ActionIcon>
      </Group>
      {note && <span className={classes.note}>{sentence(note)}</span>}
    </li>
  );
}

function Open({ field, onDrop }: { field: FieldInfo; onDrop: (right: string) => void }) {
  const [isOver, drop] = useDrop(onDrop);
  return (
    <li className={`${classes.row} ${classes.open} ${isOver ? classes.target : ''}`} {...drop}>
      <Named name={field.name} type={field.type_name} />
      <span aria-hidden className={classes.dash}>
        –
      </span>
      <Text component="span" size="sm" c="dimmed">
        not synced
      </Text>
    </li>
  );
}

function Named({ name, type }: { name: string; type: string | undefined }) {
  return (
    <span className={classes.field}>
      {name} {type && <span className={classes.type}>{type}</span>}
    </span>
  );
}

function typeOf(fields: FieldInfo[], name: string): string | undefined {
  return fields.find((field) => field.name === name)?.type_name;
}
