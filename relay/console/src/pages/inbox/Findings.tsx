/** Records that can't be synced as they are, with why and what to do; tried again one by one or all. */
import { Anchor, Button, Group, Text } from '@mantine/core';
import { useInfiniteQuery, useMutation, useQueryClient } from '@tanstack/react-query';
import { Link } from 'react-router';
import { api, told } from '../../api/client';
import type { FindingReport, SyncStatus } from '../../api/schema';
import { InPages } from '../../parts/InPages';
import { Panel } from '../../parts/Panel';
import { ProblemNote, sentence } from '../../parts/ProblemNote';
import { When } from '../../parts/When';
import { many } from '../../parts/words';
import { useMay } from '../entrance/Gate';
import { findings as findingsQuery, lookAgain } from './about';
import classes from './Inbox.module.css';

type Props = { syncs: SyncStatus[]; only: string | null; code?: string | null };

export function Findings({ syncs, only, code = null }: Props) {
  const queries = useQueryClient();
  const mayRetry = useMay('editor');
  const those = syncs.filter((sync) => sync.findings > 0 && (only === null || sync.name === only));
  const count = those.reduce((sum, sync) => sum + sync.findings, 0);
  const found = useInfiniteQuery(findingsQuery(only, code, count));
  const retry = useMutation({
    mutationFn: () =>
      Promise.all(
        those.map(({ name }) =>
          told(api.POST('/api/v1/syncs/{name}/retry', { params: { path: { name } } })),
        ),
      ),
    onSettled: () => lookAgain(queries),
  });
  return (
    <>
      {mayRetry && those.length > 0 && (
        <div>
          <Button
            size="compact-sm"
            variant="default"
            loading={retry.isPending}
            onClick={() => retry.mutate()}
          >
            Try all of them again
          </Button>
        </div>
      )}
      {retry.isError && <ProblemNote thrown={retry.error} />}
      <InPages query={found}>
        {(list) => list.map((finding) => <FindingCard key={finding.id} finding={finding} />)}
      </InPages>
    </>
  );
}

function FindingCard({ finding }: { finding: FindingReport }) {
  const queries = useQueryClient();
  const mayRetry = useMay('editor');
  const name = finding.sync ?? '';
  const path = { name, id: finding.id ?? 0 };
  const retry = useMutation({
    mutationFn: () =>
      told(api.POST('/api/v1/syncs/{name}/findings/{id}/retry', { params: { path } })),
    onSettled: () => lookAgain(queries),
  });
  const history = `/syncs/${encodeURIComponent(name)}?key=${encodeURIComponent(finding.key)}`;
  return (
    <Panel className={classes.kind}>
      <Group justify="space-between" gap="xs" wrap="nowrap" align="start">
        <div>
          <Text fw={600}>
            <Anchor component={Link} to={history} inherit underline="always">
              {finding.key}
            </Anchor>{' '}
            in {finding.table}
          </Text>
          <Text size="sm">{sentence(finding.detail)}</Text>
          <Text size="sm">{sentence(finding.advice)}</Text>
          <Text size="xs" c="dimmed" mt={4}>
            {name}, {finding.code}, since <When at={finding.since} />
            {(finding.attempts ?? 0) > 1 && `, tried ${many(finding.attempts ?? 0, 'time')}`}
            {finding.retry_at && (
              <>
                , again <When at={finding.retry_at} />
              </>
            )}
          </Text>
        </div>
        {mayRetry && (
          <Button
            size="compact-sm"
            variant="default"
            className={classes.retry ?? ''}
            aria-label={`Try again: ${finding.key} in ${finding.table}`}
            loading={retry.isPending}
            onClick={() => retry.mutate()}
          >
            Try again
          </Button>
        )}
      </Group>
      {retry.isError && <ProblemNote thrown={retry.error} />}
    </Panel>
  );
}
