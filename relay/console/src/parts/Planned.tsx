/** What a start or an edit would do: counted, and by example. */
import { Alert, Table, Text } from '@mantine/core';
import { IconAlertTriangle } from '@tabler/icons-react';
import type { FieldDiff, Preview, Sample } from '../api/schema';
import { Section } from './Page';
import { Panel } from './Panel';
import { sentence } from './ProblemNote';
import { VERDICT, counted, many, span } from './words';
import classes from './Planned.module.css';

type Props = { left: string; right: string; plan: Preview };

export function Planned({ left, right, plan }: Props) {
  return (
    <>
      <Notes color="red" title="It can’t start like this" notes={plan.problems} />
      <Notes color="blue" title="What is different" notes={plan.edits ?? []} />
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
      {(plan.costs ?? []).map((cost) => (
        <Text key={cost.side} size="sm">
          It takes {cost.side === 'left' ? left : right} about {many(cost.calls, 'call')}, in{' '}
          {span(cost.seconds * 1_000)} or more.
        </Text>
      ))}
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
