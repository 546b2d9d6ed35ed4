/** An empty place: what would be here, and how it comes to be. */
import { Stack, Text, ThemeIcon } from '@mantine/core';
import type { ReactNode } from 'react';
import classes from './Nothing.module.css';

type Props = { icon: ReactNode; title: string; children?: ReactNode; action?: ReactNode };

export function Nothing({ icon, title, children, action }: Props) {
  return (
    <Stack className={classes.nothing} align="center" gap="xs">
      <ThemeIcon size={44} radius="xl" variant="light" aria-hidden>
        {icon}
      </ThemeIcon>
      <Text fw={600} size="md">
        {title}
      </Text>
      {children && (
        <Text c="dimmed" ta="center" maw={460}>
          {children}
        </Text>
      )}
      {action}
    </Stack>
  );
}
