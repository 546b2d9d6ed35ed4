/** A complete comparison of both sides, and its certificate. */
import { Alert, Button, Progress, Text } from '@mantine/core';
import { IconAlertTriangle, IconCircleCheck } from '@tabler/icons-react';
import { api, told } from '../../api/client';
import type { SyncStatus, VerifyReport } from '../../api/schema';
import { useMutation } from '@tanstack/react-query';
import { Section } from '../../parts/Page';
import { ProblemNote } from '../../parts/ProblemNote';
import { many } from '../../parts/words';
import { useMay } from '../entrance/Gate';

export function Verify({ sync }: { sync: SyncStatus }) {
  const mayVerify = useMay('editor');
  const params = { path: { name: sync.name } };
  const verify = useMutation({
    mutationFn: () => told(api.POST('/api/v1/syncs/{name}/verify', { params })),
  });
  return (
    <Section
      title="Verify"
      actions={
        mayVerify && (
          <Button
            size="compact-sm"
            variant="default"
            loading={verify.isPending}
            disabled={sync.state !== 'live'}
            onClick={() => verify.mutate()}
          >
            Compare both sides now
          </Button>
        )
      }
    >
      {sync.verifying && (
        <Progress
          value={(100 * sync.verifying.compared) / Math.max(1, sync.verifying.total)}
          aria-label="Compared"
          animated
        />
      )}
      {verify.isError && <ProblemNote thrown={verify.error} />}
      {verify.data ? (
        <Certificate report={verify.data} />
      ) : (
        <Text size="sm" c="dimmed">
          Reads both sides completely, whatever the relay remembers, and names each difference.
        </Text>
      )}
    </Section>
  );
}

function Certificate({ report }: { report: VerifyReport }) {
  if (report.equal) {
    return (
      <Alert
        role="status"
        color="green"
        icon={<IconCircleCheck aria-hidden />}
        title={`Equal: ${many(report.records, 'record')}`}
      >
        As of {report.left_position} on the left and {report.right_position} on the right.
      </Alert>
    );
  }
  return (
    <Alert
      role="status"
      color="red"
      icon={<IconAlertTriangle aria-hidden />}
      title={many(report.difference_count, 'difference')}
    >
      {report.differences.slice(0, 20).map((one) => (
        <Text size="sm" key={`${one.table} ${one.left_key} ${one.right_key}`}>
          {one.left_key ?? one.right_key} in {one.table}: {one.kind}
          {one.fields.length > 0 && ` (${one.fields.join(', ')})`}
        </Text>
      ))}
    </Alert>
  );
}
