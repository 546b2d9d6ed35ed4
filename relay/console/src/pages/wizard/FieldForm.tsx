/** What happens to the values of one field pair on the way: other words for the same, or links. */
import { ActionIcon, Button, Group, Modal, Select, Stack, Text, TextInput } from '@mantine/core';
import { IconArrowsLeftRight, IconPlus, IconX } from '@tabler/icons-react';
import { useState } from 'react';
import type { FieldMap } from '../../api/schema';
import { Choice } from '../../parts/Choice';
import { allowed, type FieldDraft } from './draft';
import type { PairsProps } from './FieldPairs';
import classes from './Wizard.module.css';

type Props = {
  field: FieldDraft;
  sides: [string, string];
  map: FieldMap;
  pairs: PairsProps['pairs'];
  onSave: (field: FieldDraft) => void;
  onClose: () => void;
};

export function FieldForm({ field, sides, map, pairs, onSave, onClose }: Props) {
  const fitting = allowed(map, field.left, field.right);
  const [kind, setKind] = useState(kindOf(field, fitting.length > 0));
  const [link, setLink] = useState<string | null>(field.link ?? null);
  const [values, setValues] = useState<[string, string][]>(
    field.values ?? proposed(field, map) ?? [['', '']],
  );
  const [nulls, setNulls] = useState({ left: field.nullLeft ?? '', right: field.nullRight ?? '' });
  const { left, right } = field;
  const save = () => {
    const plain: FieldDraft = { left, right, direction: field.direction };
    const [best] = fitting;
    if (kind === 'same') {
      const isAllowed = fitting.includes(field.direction);
      onSave({ ...plain, direction: isAllowed || !best ? field.direction : best });
    } else if (kind === 'link' && link) {
      onSave({ ...plain, link });
    } else {
      const filled = values.filter(([one, other]) => one !== '' && other !== '');
      onSave({
        ...plain,
        ...(filled.length > 0 ? { values: filled } : {}),
        ...(nulls.left ? { nullLeft: nulls.left } : {}),
        ...(nulls.right ? { nullRight: nulls.right } : {}),
      });
    }
  };
  return (
    <Modal opened onClose={onClose} title={`${left} and ${right}`} size="lg">
      <Stack gap="md">
        <Choice
          label="What happens to values"
          data={[
            { value: 'same', label: 'As they are', disabled: fitting.length === 0 },
            { value: 'words', label: 'Other words' },
            { value: 'link', label: 'Linked records' },
          ]}
          value={kind}
          onChange={setKind}
        />
        {kind === 'same' && <Text size="sm">Values are carried over unchanged.</Text>}
        {kind === 'words' && (
          <Words
            field={field}
            sides={sides}
            values={values}
            onValues={setValues}
            nulls={nulls}
            onNulls={setNulls}
          />
        )}
        {kind === 'link' && (
          <>
            <Text size="sm">
              Both fields hold keys of records. They are made to name the same record on either
              side, whatever its key is there.
            </Text>
            <Select
              label="Records of"
              placeholder="Choose a pair of tables"
              data={pairs.map((pair) => ({
                value: pair.left,
                label: `${pair.left} ↔ ${pair.right}`,
              }))}
              value={link}
              onChange={setLink}
            />
          </>
        )}
        <Button onClick={save} disabled={kind === 'link' && !link}>
          Keep
        </Button>
      </Stack>
    </Modal>
  );
}

function kindOf(field: FieldDraft, isFitting: boolean): string {
  if (field.link) return 'link';
  const hasNulls = field.nullLeft !== undefined || field.nullRight !== undefined;
  return field.values || hasNulls || !isFitting ? 'words' : 'same';
}

type WordsProps = {
  field: FieldDraft;
  sides: [string, string];
  values: [string, string][];
  onValues: (values: [string, string][]) => void;
  nulls: { left: string; right: string };
  onNulls: (nulls: { left: string; right: string }) => void;
};

function Words({ field, sides: [left, right], values, onValues, nulls, onNulls }: WordsProps) {
  const set = (at: number, pair: [string, string]) =>
    onValues(values.map((one, index) => (index === at ? pair : one)));
  return (
    <Stack gap="xs">
      <Text size="sm">
        Each word has one counterpart. A value that is not listed stays where it is, as a finding.
      </Text>
      {values.map(([one, other], at) => (
        <Group key={at} gap="xs" wrap="nowrap">
          <TextInput
            className={classes.word}
            aria-label={`Word ${at + 1} in ${left}`}
            placeholder={field.left}
            value={one}
            onChange={(event) => set(at, [event.currentTarget.value, other])}
          />
          <IconArrowsLeftRight size={16} aria-hidden />
          <TextInput
            className={classes.word}
            aria-label={`Word ${at + 1} in ${right}`}
            placeholder={field.right}
            value={other}
            onChange={(event) => set(at, [one, event.currentTarget.value])}
          />
          <ActionIcon
            variant="subtle"
            color="gray"
            aria-label={`Remove word ${at + 1}`}
            onClick={() => onValues(values.filter((_, index) => index !== at))}
          >
            <IconX size={16} aria-hidden />
          </ActionIcon>
        </Group>
      ))}
      <div>
        <Button
          size="compact-sm"
          variant="default"
          leftSection={<IconPlus size={14} aria-hidden />}
          onClick={() => onValues([...values, ['', '']])}
        >
          Another word
        </Button>
      </div>
      <Group grow align="start">
        <TextInput
          label={`Where ${right} is empty, ${left} has`}
          value={nulls.left}
          onChange={(event) => onNulls({ ...nulls, left: event.currentTarget.value })}
        />
        <TextInput
          label={`Where ${left} is empty, ${right} has`}
          value={nulls.right}
          onChange={(event) => onNulls({ ...nulls, right: event.currentTarget.value })}
        />
      </Group>
    </Stack>
  );
}

/** The labels of two lists of words, those that are alike beside each other. */
function proposed(field: FieldDraft, map: FieldMap): [string, string][] | undefined {
  const labels = (fields: FieldMap['left'], name: string) =>
    fields.find((one) => one.name === name)?.labels ?? [];
  const rights = labels(map.right, field.right);
  const pairs = labels(map.left, field.left).map((label): [string, string] => {
    const alike = rights.find((one) => one.toLowerCase() === label.toLowerCase());
    return [label, alike ?? ''];
  });
  return pairs.length > 0 ? pairs : undefined;
}
