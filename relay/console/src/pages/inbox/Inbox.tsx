/** What waits for a person across all syncs: conflicts to pick, and records that can't be synced. */
import { Group, Select, Tabs } from '@mantine/core';
import { IconInbox } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { useSearchParams } from 'react-router';
import { syncs as syncsQuery } from '../../api/queries';
import type { SyncStatus } from '../../api/schema';
import { Nothing } from '../../parts/Nothing';
import { Page } from '../../parts/Page';
import { Told } from '../../parts/Told';
import { counted } from '../../parts/words';
import { Conflicts } from './Conflicts';
import { Findings } from './Findings';
import classes from './Inbox.module.css';

export default function Inbox() {
  const syncs = useQuery(syncsQuery);
  return (
    <Page title="Inbox" about="Conflicts to pick, and records that can’t be synced as they are.">
      <Told query={syncs}>{(list) => <Lists syncs={list} />}</Told>
    </Page>
  );
}

function Lists({ syncs }: { syncs: SyncStatus[] }) {
  const [search, setSearch] = useSearchParams();
  const only = search.get('sync');
  const meant = syncs.filter((sync) => only === null || sync.name === only);
  const asked = meant.reduce((sum, sync) => sum + sync.asked, 0);
  const findings = meant.reduce((sum, sync) => sum + sync.findings, 0);
  // Chosen once: a list that becomes empty under one's hands stays where it is.
  const [first] = useState(asked === 0 && findings > 0 ? 'findings' : 'conflicts');
  const set = (change: Record<string, string | null>) => {
    const next = new URLSearchParams(search);
    for (const [name, value] of Object.entries(change)) {
      if (value === null) next.delete(name);
      else next.set(name, value);
    }
    setSearch(next, { replace: true });
  };
  return (
    <Tabs
      value={search.get('list') ?? first}
      onChange={(list) => set({ list })}
      keepMounted={false}
    >
      <Group justify="space-between" align="end" mb="md">
        <Tabs.List>
          <Tabs.Tab value="conflicts">Conflicts ({counted(asked)})</Tabs.Tab>
          <Tabs.Tab value="findings">Findings ({counted(findings)})</Tabs.Tab>
        </Tabs.List>
        {syncs.length > 1 && (
          <Select
            aria-label="Of which sync"
            placeholder="Of all syncs"
            data={syncs.map((sync) => sync.name)}
            value={only}
            onChange={(sync) => set({ sync })}
            clearable
          />
        )}
      </Group>
      <Tabs.Panel value="conflicts" className={classes.list ?? ''}>
        {asked === 0 ? (
          <Nothing icon={<IconInbox />} title="Nothing to pick">
            Where a sync asks (conflict = &quot;ask&quot;), what both sides changed to different
            values comes here.
          </Nothing>
        ) : (
          <Conflicts syncs={syncs} only={only} />
        )}
      </Tabs.Panel>
      <Tabs.Panel value="findings" className={classes.list ?? ''}>
        {findings === 0 ? (
          <Nothing icon={<IconInbox />} title="No findings">
            Records that one side refuses, or that can’t be matched, come here with the reason.
          </Nothing>
        ) : (
          <Findings syncs={syncs} only={only} />
        )}
      </Tabs.Panel>
    </Tabs>
  );
}
