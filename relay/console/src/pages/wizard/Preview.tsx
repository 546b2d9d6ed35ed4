/** Last: what the start would do, counted and by example; and the start, which does exactly that. */
import { Button, Group, Stack } from '@mantine/core';
import { IconPlayerPlay } from '@tabler/icons-react';
import { useMutation, useQuery } from '@tanstack/react-query';
import { api, told } from '../../api/client';
import type { Preview, SyncDefinition } from '../../api/schema';
import { Planned } from '../../parts/Planned';
import { ProblemNote } from '../../parts/ProblemNote';
import { Told } from '../../parts/Told';
import { definitionOf, type Draft } from './draft';

type Props = { draft: Draft; onStarted: () => Promise<void> };

export function PreviewStep({ draft, onStarted }: Props) {
  const definition = definitionOf(draft);
  const plan = useQuery({
    queryKey: ['plan', definition],
    queryFn: () => told(api.POST('/api/v1/syncs/plan', { body: definition })),
    staleTime: 0,
    gcTime: 0,
  });
  return (
    <Told query={plan}>
      {(known) => (
        <Stack gap="lg">
          <Planned left={draft.left ?? ''} right={draft.right ?? ''} plan={known} />
          {known.problems.length === 0 && (
            <Start
              definition={definition}
              plan={known}
              onAgain={() => void plan.refetch()}
              onStarted={onStarted}
            />
          )}
        </Stack>
      )}
    </Told>
  );
}

type StartProps = {
  definition: SyncDefinition;
  plan: Preview;
  onAgain: () => void;
  onStarted: () => Promise<void>;
};

function Start({ definition, plan, onAgain, onStarted }: StartProps) {
  const start = useMutation({
    mutationFn: async () => {
      await told(api.POST('/api/v1/syncs/apply', { body: { definition, expected: plan } }));
      await onStarted();
    },
  });
  return (
    <>
      {start.isError && <ProblemNote thrown={start.error} title="It was not started" />}
      <Group justify="flex-end">
        <Button variant="default" onClick={onAgain}>
          Count again
        </Button>
        <Button
          size="md"
          leftSection={<IconPlayerPlay size={18} aria-hidden />}
          loading={start.isPending}
          onClick={() => start.mutate()}
        >
          Start sync
        </Button>
      </Group>
    </>
  );
}
