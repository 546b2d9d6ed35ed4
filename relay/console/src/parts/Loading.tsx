/** What is shown while something is on its way: bars where the content will be, told to screen readers. */
import { Skeleton, Stack, VisuallyHidden } from '@mantine/core';

export function Loading({ lines = 3 }: { lines?: number }) {
  return (
    <Stack gap="sm" role="status" p="xs">
      <VisuallyHidden>Loading</VisuallyHidden>
      {Array.from({ length: lines }, (_, line) => (
        <Skeleton key={line} height={line === 0 ? 28 : 64} width={line === 0 ? '40%' : '100%'} />
      ))}
    </Stack>
  );
}
