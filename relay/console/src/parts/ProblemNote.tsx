/** A refusal, with what to do next, and a way to try again where there is one. */
import { Alert, Button, Group, Text } from '@mantine/core';
import { IconAlertTriangle, IconRefresh } from '@tabler/icons-react';
import { refusalOf } from '../api/problem';

type Props = { thrown: unknown; title?: string; onRetry?: () => void };

export function ProblemNote({ thrown, title, onRetry }: Props) {
  const refusal = refusalOf(thrown);
  return (
    <Alert
      color="red"
      variant="light"
      role="alert"
      icon={<IconAlertTriangle aria-hidden />}
      title={title ?? refusal.title}
    >
      <Text size="sm" c="inherit">
        {sentence(refusal.message)}
      </Text>
      <Group mt="xs" gap="sm">
        {onRetry && (
          <Button
            size="compact-sm"
            variant="default"
            leftSection={<IconRefresh size={14} aria-hidden />}
            onClick={onRetry}
          >
            Try again
          </Button>
        )}
        <Text size="xs" c="dimmed">
          {refusal.code}
        </Text>
      </Group>
    </Alert>
  );
}

/** The relay's details start small and have no full stop, since logs and terminals show them too. */
export function sentence(text: string): string {
  // SQL to copy stays as it is.
  if (text.endsWith(';')) return text;
  const first = text.charAt(0).toUpperCase();
  const end = /[.!?:)]$/.test(text) ? '' : '.';
  return `${first}${text.slice(1)}${end}`;
}
