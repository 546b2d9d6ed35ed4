/** Records that can't be synced as they are, with why and what to do. */
import { Button, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { api, told } from '../../api/client';
import type { SyncStatus } from '../../api/schema';
import { Section } from '../../parts/Page';
import { Panel } from '../../parts/Panel';
import { ProblemNote, sentence } from '../../parts/ProblemNote';
import { Told } from '../../parts/Told';
import { When } from '../../parts/When';
import { useMay } from '../entrance/Gate';
import { findings as findingsQuery, useOrder } from './about';
import classes from './Sync.module.css';

export function Findings({ sync }: { sync: SyncStatus }) {
  const mayRetry = useMay('editor');
  const isAny = sync.findings > 0;
  const found = useQuery({ ...findingsQuery(sync.name, sync.findings), enabled: isAny });
  const params = { path: { name: sync.name } };
  const retry = useOrder(async () => {
    await told(api.POST('/api/v1/syncs/{name}/retry', { params }));
    return undefined;
  });
  if (!isAny) return null;
  return (
    <Section
      title="Findings"
      actions={
        mayRetry && (
          <Button
            size="compact-sm"
            variant="default"
            loading={retry.isPending}
            onClick={() => retry.mutate()}
          >
            Try them again
          </Button>
        )
      }
    >
      {retry.isError && <ProblemNote thrown={retry.error} />}
      <Told query={found}>
        {(list) => (
          <div className={classes.list}>
            {list.map((finding) => (
              <Panel key={`${finding.table} ${finding.side} ${finding.key} ${finding.code}`}>
                <Text fw={600}>
                  {finding.key} in {finding.table}
                </Text>
                <Text size="sm">{sentence(finding.detail)}</Text>
                <Text size="sm">{sentence(finding.advice)}</Text>
                <Text size="xs" c="dimmed">
                  {finding.code}, since <When at={finding.since} />
                </Text>
              </Panel>
            ))}
          </div>
        )}
      </Told>
    </Section>
  );
}
