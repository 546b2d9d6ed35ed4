/** Last: what the start would do, counted and by example; and the start, which does exactly that. */
import { Alert, Button, Group, Stack, Table, Text } from '@mantine/core';
import { IconAlertTriangle, IconPlayerPlay } from '@tabler/icons-react';
import { useMutation, useQuery } from '@tanstack/react-query';
import { api, told } from '../../api/client';
import type { FieldDiff, Preview, Sample, SyncDefinition } from '../../api/schema';
import { Section } from '../../parts/Page';
import { Panel } from '../../parts/Panel';
import { ProblemNote, sentence } from '../../parts/ProblemNote';
import { Told } from '../../parts/Told';
import { VERDICT, counted } from '../../parts/words';
import { definitionOf, type Draft } from './draft';
import classes from './Wizard.module.css';

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
          <Planned draft={draft} plan={known} />
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

function Planned({ draft, plan }: { draft: Draft; plan: Preview }) {
  const [left, right] = [draft.left ?? '', draft.right ?? ''];
  return (
    <>
      <Notes color="red" title="It can’t start like this" notes={plan.problems} />
      <Notes color="yellow" title="To know before" notes={plan.warnings} />
      {plan.tables.length > 0 && (
        <Panel className={classes.scroll}>
          <table className={classes.counts}>
            <caption className="tabular">What the start would write</caption>
            <thead>
              <tr>
                <th scope="col">Tables</th>
                <th scope="col">Link</th>
                <th scope="col">Create in {right}</th>
                <th scope="col">Create in {left}</th>
                <th scope="col">Update in {right}</th>
                <th scope="col">Update in {left}</th>
                <th scope="col">Delete in {right}</th>
                <th scope="col">Delete in {left}</th>
                <th scope="col">Findings</th>
              </tr>
            </thead>
            <tbody>
              {plan.tables.map((table) => (
                <tr key={`${table.left} ${table.right}`}>
                  <th scope="row">
                    {table.left} ↔ {table.right}
                  </th>
                  <td>{counted(table.link)}</td>
                  <td>{counted(table.create_right)}</td>
                  <td>{counted(table.create_left)}</td>
                  <td>{counted(table.update_right)}</td>
                  <td>{counted(table.update_left)}</td>
                  <td>{counted(table.delete_right)}</td>
                  <td>{counted(table.delete_left)}</td>
                  <td>{counted(table.findings)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Panel>
      )}
      {plan.tables.some((table) => table.samples.length > 0) && (
        <Section title="For example">
          {plan.tables.flatMap((table) =>
            table.samples
              .slice(0, 3)
              .map((sample) => (
                <SampleCard
                  key={`${table.left} ${sample.side} ${sample.key}`}
                  sample={sample}
                  sides={[left, right]}
                />
              )),
          )}
        </Section>
      )}
    </>
  );
}

function Notes({ color, title, notes }: { color: string; title: string; notes: string[] }) {
  if (notes.length === 0) return null;
  return (
    <Alert color={color} icon={<IconAlertTriangle aria-hidden />} title={title}>
      {notes.map((note) => (
        <Text key={note} size="sm">
          {sentence(note)}
        </Text>
      ))}
    </Alert>
  );
}

/** A filter's verdict travels as a field, which nobody mapped. */
function isShown(field: FieldDiff): boolean {
  return field.left_field !== VERDICT;
}

const VERBS: Record<string, string> = { create: 'Create', update: 'Update', delete: 'Delete' };

function SampleCard({ sample, sides: [left, right] }: { sample: Sample; sides: [string, string] }) {
  const where = sample.side === 'left' ? left : right;
  return (
    <Panel>
      <Text fw={600}>
        {VERBS[sample.kind] ?? sample.kind} {sample.key} in {where}
      </Text>
      <div className={classes.scroll}>
        <Table>
          <Table.Thead>
            <Table.Tr>
              <Table.Th>Field</Table.Th>
              <Table.Th>{left}</Table.Th>
              <Table.Th>{right}</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {sample.fields.filter(isShown).map((field) => (
              <Table.Tr key={`${field.left_field} ${field.right_field}`}>
                <Table.Td>{field.left_field || field.right_field}</Table.Td>
                <Table.Td>{field.left ?? '–'}</Table.Td>
                <Table.Td>{field.right ?? '–'}</Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </div>
    </Panel>
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
