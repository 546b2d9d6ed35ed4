/** One sync: how it goes, what waits for a person, what can be done with it. */
import { Alert, Progress, Text } from '@mantine/core';
import { IconArrowsLeftRight, IconInfoCircle } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useParams } from 'react-router';
import { useThroughput } from '../../api/live';
import { syncs as syncsQuery } from '../../api/queries';
import type { SyncStatus } from '../../api/schema';
import { Figure, Figures } from '../../parts/Figure';
import { Nothing } from '../../parts/Nothing';
import { Page, Section } from '../../parts/Page';
import { Panel } from '../../parts/Panel';
import { sentence } from '../../parts/ProblemNote';
import { Spark } from '../../parts/Spark';
import { State } from '../../parts/State';
import { Told } from '../../parts/Told';
import { When } from '../../parts/When';
import { counted, many, span } from '../../parts/words';
import { Conflicts } from '../inbox/Conflicts';
import { Findings } from '../inbox/Findings';
import { Actions } from './Actions';
import { History } from './History';
import { Runs } from './Runs';
import { Verify } from './Verify';
import classes from './Sync.module.css';

export default function Sync() {
  const { name = '' } = useParams();
  const syncs = useQuery(syncsQuery);
  return (
    <Told query={syncs}>
      {(list) => {
        const sync = list.find((one) => one.name === name);
        if (sync) return <Shown sync={sync} />;
        return (
          <Page title={name}>
            <Nothing icon={<IconInfoCircle />} title="There is no such sync">
              It was removed, or it never was. All that there are stand on the overview.
            </Nothing>
          </Page>
        );
      }}
    </Told>
  );
}

function Shown({ sync }: { sync: SyncStatus }) {
  const moments = useThroughput(sync.name);
  return (
    <Page
      title={sync.name}
      about={
        <span className={classes.about}>
          {sync.left} <IconArrowsLeftRight size={14} aria-label="with" /> {sync.right}
          <State state={sync.state} />
        </span>
      }
      actions={<Actions sync={sync} />}
    >
      {sync.last_error && (
        <Alert color={sync.state === 'failed' ? 'red' : 'yellow'} title="Why it does not go on">
          {sentence(sync.last_error)}
        </Alert>
      )}
      <Notes
        title="Not synced at present"
        color="yellow"
        told={[...(sync.paused_tables ?? []), ...(sync.paused_fields ?? [])]}
      />
      <Notes title="Other than the sync's file says" color="blue" told={sync.drift ?? []} />
      <Panel>
        <Figures>
          <Figure name="Lag">{sync.lag_ms == null ? '–' : span(sync.lag_ms)}</Figure>
          <Figure name="Waiting changes">{counted(sync.pending)}</Figure>
          <Figure name="Written since it exists">{counted(sync.writes)}</Figure>
          <Figure name="Last verify" tone={sync.verified?.equal === false ? 'bad' : undefined}>
            {sync.verified ? <When at={sync.verified.at} /> : 'never'}
          </Figure>
          <Figure name="Last 5 minutes" wide>
            <Spark moments={moments} label="Crossed in the last 5 minutes" />
          </Figure>
        </Figures>
      </Panel>
      <Section title="Tables">
        {sync.tables.map((table) => (
          <TableRow key={`${table.left} ${table.right}`} sync={sync} table={table} />
        ))}
      </Section>
      {sync.asked > 0 && (
        <Section title="Conflicts to pick">
          <Conflicts syncs={[sync]} only={sync.name} />
        </Section>
      )}
      {sync.findings > 0 && (
        <Section title="Findings">
          <Findings syncs={[sync]} only={sync.name} />
        </Section>
      )}
      <Verify sync={sync} />
      <Runs sync={sync} />
      <History sync={sync} />
    </Page>
  );
}

/** Renamed and added columns and tables: nothing that stops the sync. */
function Notes({ title, color, told }: { title: string; color: string; told: string[] }) {
  if (told.length === 0) return null;
  return (
    <Alert color={color} icon={<IconInfoCircle />} title={title}>
      {told.map((one) => (
        <Text key={one} size="sm">
          {sentence(one)}
        </Text>
      ))}
    </Alert>
  );
}

type TableProps = { sync: SyncStatus; table: SyncStatus['tables'][number] };

function TableRow({ sync, table }: TableProps) {
  const percent = table.total > 0 ? (100 * table.copied) / table.total : 100;
  return (
    <Panel>
      <Text fw={600}>
        {table.left} ↔ {table.right}
      </Text>
      {sync.state === 'copying' && (
        <>
          <Progress value={percent} aria-label={`Copied of ${table.left}`} animated mt={8} />
          <Text size="xs" c="dimmed" className="tabular">
            {counted(table.copied)} of {many(table.total, 'record')}
          </Text>
        </>
      )}
      <Text size="sm" c="dimmed">
        {many(table.linked, 'record')} linked
        {table.findings > 0 && `, ${many(table.findings, 'finding')}`}
        {table.asked > 0 && `, ${many(table.asked, 'conflict')} to pick`}
      </Text>
    </Panel>
  );
}
