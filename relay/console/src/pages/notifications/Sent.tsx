/** What came of a test. */
import { Alert, Text } from '@mantine/core';
import { IconAlertTriangle, IconCircleCheck } from '@tabler/icons-react';
import type { ChannelTest } from '../../api/schema';
import { sentence } from '../../parts/ProblemNote';

export function Sent({ test }: { test: ChannelTest }) {
  const Icon = test.delivered ? IconCircleCheck : IconAlertTriangle;
  return (
    <Alert
      role="status"
      color={test.delivered ? 'green' : 'red'}
      icon={<Icon aria-hidden />}
      title={test.delivered ? 'The test has arrived' : 'The test did not arrive'}
    >
      {test.error && <Text size="sm">{sentence(test.error)}</Text>}
    </Alert>
  );
}
