/** One more pair of fields: two that go together, linked records, or one that is computed. */
import { Button, Group, Select, Stack, Text, TextInput } from '@mantine/core';
import { useState } from 'react';
import type { FieldInfo, FieldMap } from '../../api/schema';
import { Choice } from '../../parts/Choice';
import { sentence } from '../../parts/ProblemNote';
import { allowed, why, type FieldDraft } from './draft';
import type { PairsProps } from './FieldPairs';

type Props = {
  sides: [string, string];
  /** Those that are not mapped. */
  left: FieldInfo[];
  right: FieldInfo[];
  map: FieldMap;
  pairs: PairsProps['pairs'];
  onAdd: (field: FieldDraft) => void;
  /** It does not fit as it is: a person says what happens to its values. */
  onShape: (field: FieldDraft) => void;
};

export function AddField(props: Props) {
  const [kind, setKind] = useState('fields');
  if (props.left.length === 0 && props.right.length === 0) return null;
  return (
    <Stack gap="xs">
      <Choice
        label="What is added"
        data={[
          { value: 'fields', label: 'Two fields' },
          { value: 'left', label: `Computed of ${props.sides[0]}` },
          { value: 'right', label: `Computed of ${props.sides[1]}` },
        ]}
        value={kind}
        onChange={setKind}
      />
      {kind === 'fields' ? (
        <TwoFields {...props} />
      ) : (
        <Computed {...props} key={kind} on={kind === 'left' ? 'left' : 'right'} />
      )}
    </Stack>
  );
}

function names(fields: FieldInfo[]): string[] {
  return fields.map(({ name }) => name);
}

function TwoFields({ left, right, map, pairs, onAdd, onShape }: Props) {
  const [one, setOne] = useState<string | null>(null);
  const [other, setOther] = useState<string | null>(null);
  const [link, setLink] = useState<string | null>(null);
  const isWhole = one !== null && other !== null;
  const fitting = isWhole ? allowed(map, one, other) : [];
  const reason = isWhole ? why(map, one, other) : null;
  const isRefused = isWhole && fitting.length === 0;
  const add = () => {
    if (!isWhole) return;
    const field = { left: one, right: other, direction: fitting[0] ?? 'both' };
    if (link) onAdd({ ...field, link });
    else if (isRefused) onShape(field);
    else onAdd(field);
    setOne(null);
    setOther(null);
    setLink(null);
  };
  return (
    <>
      <Group align="end">
        <Select label="Add a field" data={names(left)} value={one} onChange={setOne} />
        <Select label="with" data={names(right)} value={other} onChange={setOther} />
        {isRefused && (
          <Select
            label="as links to records of"
            data={pairs.map((pair) => ({
              value: pair.left,
              label: `${pair.left} ↔ ${pair.right}`,
            }))}
            value={link}
            onChange={setLink}
            clearable
          />
        )}
        <Button variant="default" disabled={!isWhole} onClick={add}>
          {isRefused && !link ? 'Map by words…' : 'Map'}
        </Button>
      </Group>
      {reason && (
        <Text size="sm" role="status">
          {isRefused ? 'As they are, these don’t go together: ' : 'One way only: '}
          {sentence(reason)}
        </Text>
      )}
    </>
  );
}

function Computed({ sides, left, right, onAdd, on }: Props & { on: 'left' | 'right' }) {
  const [expression, setExpression] = useState('');
  const [target, setTarget] = useState<string | null>(null);
  const [from, to] = on === 'left' ? sides : [sides[1], sides[0]];
  const value = expression.trim();
  const add = () => {
    if (!target) return;
    onAdd(
      on === 'left'
        ? { left: '', leftValue: value, right: target, direction: 'left-to-right' }
        : { left: target, right: '', rightValue: value, direction: 'right-to-left' },
    );
    setExpression('');
    setTarget(null);
  };
  return (
    <Group align="end">
      <TextInput
        label={`Expression over ${from}’s record`}
        placeholder={'first + " " + last'}
        autoCapitalize="none"
        spellCheck={false}
        w={300}
        maw="100%"
        value={expression}
        onChange={(event) => setExpression(event.currentTarget.value)}
      />
      <Select
        label={`fills ${to}’s`}
        data={names(on === 'left' ? right : left)}
        value={target}
        onChange={setTarget}
      />
      <Button variant="default" disabled={!value || !target} onClick={add}>
        Add
      </Button>
    </Group>
  );
}
