/** Which events a channel is told of. */
import { Button, Checkbox, Group, Stack, Text } from '@mantine/core';
import type { ChannelEvent } from '../../api/schema';
import { EVENTS, EVERYTHING } from './about';
import classes from './Notifications.module.css';

type Props = { chosen: ChannelEvent[]; onChange: (chosen: ChannelEvent[]) => void };

export function Events({ chosen, onChange }: Props) {
  return (
    <Checkbox.Group
      label="What it is told of"
      value={chosen}
      onChange={(values) => onChange(values as ChannelEvent[])}
    >
      <Group gap="xs" mt={4}>
        <Button size="compact-xs" variant="default" onClick={() => onChange(EVERYTHING)}>
          Everything
        </Button>
        <Button size="compact-xs" variant="default" onClick={() => onChange([])}>
          Nothing
        </Button>
      </Group>
      <div className={classes.events}>
        {EVENTS.map(({ group, events }) => (
          <Stack key={group} gap={6}>
            <Text size="xs" c="dimmed" fw={600}>
              {group}
            </Text>
            {events.map(({ value, label }) => (
              <Checkbox key={value} size="xs" value={value} label={label} />
            ))}
          </Stack>
        ))}
      </div>
    </Checkbox.Group>
  );
}
