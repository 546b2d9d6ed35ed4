/** A running sync is edited as its file: what the edit would do is shown before it is applied. */
import { Button, Group, Stack, Textarea } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { Link, useNavigate, useParams } from 'react-router';
import { api, told } from '../../api/client';
import { syncs as syncsQuery } from '../../api/queries';
import type { Preview } from '../../api/schema';
import { Page } from '../../parts/Page';
import { Planned } from '../../parts/Planned';
import { ProblemNote } from '../../parts/ProblemNote';
import { Told } from '../../parts/Told';
import { fileOf } from './about';

export default function Edit() {
  const { name = '' } = useParams();
  const file = useQuery(fileOf(name));
  return (
    <Page
      title={`Edit ${name}`}
      about="Its file, as docs/sync-file.md describes it. Nothing changes before you apply it."
    >
      <Told query={file}>{(text) => <Editor name={name} text={text} />}</Told>
    </Page>
  );
}

type Looked = { text: string; plan: Preview };

function Editor({ name, text: before }: { name: string; text: string }) {
  const queries = useQueryClient();
  const navigate = useNavigate();
  const syncs = useQuery(syncsQuery);
  const sync = syncs.data?.find((one) => one.name === name);
  const [text, setText] = useState(before);
  const [looked, setLooked] = useState<Looked>();
  const look = useMutation({
    mutationFn: async () => {
      const options = {
        // The document's other form is JSON.
        body: text as never,
        bodySerializer: () => text,
        headers: { 'content-type': 'text/plain' },
      };
      return { text, plan: await told(api.POST('/api/v1/syncs/plan', options)) };
    },
    onSuccess: setLooked,
  });
  const apply = useMutation({
    mutationFn: ({ text: file, plan }: Looked) =>
      told(api.POST('/api/v1/syncs/apply', { body: { file, expected: plan } })),
    onSuccess: async () => {
      await queries.invalidateQueries({ queryKey: syncsQuery.queryKey });
      await navigate(`/syncs/${encodeURIComponent(name)}`);
    },
  });
  // What was looked at must be what is applied.
  const isCurrent = looked?.text === text;
  const canApply = isCurrent && looked.plan.problems.length === 0;
  return (
    <Stack gap="md">
      <Textarea
        label="sync.toml"
        autosize={false}
        rows={18}
        spellCheck={false}
        styles={{ input: { fontFamily: 'var(--mantine-font-family-monospace)' } }}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
      />
      {look.isError && <ProblemNote thrown={look.error} title="The file can’t be used" />}
      {isCurrent && (
        <Planned left={sync?.left ?? ''} right={sync?.right ?? ''} plan={looked.plan} />
      )}
      {apply.isError && <ProblemNote thrown={apply.error} title="It was not applied" />}
      <Group justify="space-between">
        <Button component={Link} to={`/syncs/${encodeURIComponent(name)}`} variant="default">
          Cancel
        </Button>
        <Group>
          <Button variant="default" loading={look.isPending} onClick={() => look.mutate()}>
            Look what it would do
          </Button>
          <Button
            loading={apply.isPending}
            disabled={!canApply}
            onClick={() => looked && apply.mutate(looked)}
          >
            Apply
          </Button>
        </Group>
      </Group>
    </Stack>
  );
}
