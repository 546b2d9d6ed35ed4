/** By which fields records of both sides are told to be the same. */
import { ActionIcon, Button, Group, Select, Stack } from '@mantine/core';
import { IconKey, IconPlus, IconX } from '@tabler/icons-react';
import type { FieldMap } from '../../api/schema';
import { keyed } from './draft';
import type { PairsProps } from './FieldPairs';

export function MatchKey({ sides, table, map, change }: Omit<PairsProps, 'pairs'>) {
  const key: [string, string][] = table.key.length > 0 ? table.key : [['', '']];
  const names = (list: FieldMap['left']) => list.map(({ name }) => name);
  const set = (at: number, pair: [string, string]) =>
    change(
      keyed(
        table,
        key.map((one, index) => (index === at ? pair : one)),
      ),
    );
  return (
    <Stack gap="xs">
      {key.map(([left, right], at) => (
        <Group key={at} align="end">
          <Select
            label={at === 0 ? `Records are the same where ${sides[0]}’s` : `and ${sides[0]}’s`}
            data={names(map.left)}
            value={left || null}
            onChange={(value) => value && set(at, [value, right])}
            leftSection={<IconKey size={16} aria-hidden />}
          />
          <Select
            label={`equals ${sides[1]}’s`}
            data={names(map.right)}
            value={right || null}
            onChange={(value) => value && set(at, [left, value])}
            leftSection={<IconKey size={16} aria-hidden />}
          />
          {at > 0 && (
            <ActionIcon
              variant="subtle"
              color="gray"
              size="lg"
              aria-label={`Not also ${left || 'this one'}`}
              onClick={() =>
                change(
                  keyed(
                    table,
                    key.filter((_, index) => index !== at),
                  ),
                )
              }
            >
              <IconX size={16} aria-hidden />
            </ActionIcon>
          )}
          {at === key.length - 1 && left && right && (
            <Button
              variant="subtle"
              size="compact-sm"
              mb={6}
              leftSection={<IconPlus size={14} aria-hidden />}
              onClick={() => change(keyed(table, [...key, ['', '']]))}
            >
              and another
            </Button>
          )}
        </Group>
      ))}
    </Stack>
  );
}
