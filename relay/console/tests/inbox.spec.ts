/** What waits for a person, across two syncs: picked one by one and together, tried again; and what crosses. */
import { startAgent, type Agent } from './agent';
import { expect, look, test } from './console';
import { PASSWORD, ROLE, startPostgres, type Postgres } from './postgres';

test.use({ world: 'inbox' });

// Each goes on from what the one before left.
test.describe.configure({ mode: 'serial' });

let postgres: Postgres;
let agent: Agent | undefined;

const TABLES = ['posts', 'pages'];

test.beforeAll(async ({ relay }) => {
  test.setTimeout(240_000);
  postgres = await startPostgres(relay.folder);
  const table = (name: string, more = '') =>
    `create table public.${name} (id int primary key, title text${more}, note text)`;
  for (const name of TABLES) {
    postgres.sql('office', table(name));
    postgres.sql('site', table(name, ` check (title not like 'refused%')`));
    postgres.sql(
      'office',
      `insert into public.${name} select n, 'Title ' || n from generate_series(1, 6) n`,
    );
  }
  const headers = {
    authorization: `Bearer ${relay.token}`,
    'content-type': 'application/json',
  };
  const post = async (path: string, body: unknown = {}) => {
    const options = { method: 'POST', headers, body: JSON.stringify(body) };
    const answer = await fetch(`${relay.url}/api/v1/${path}`, options);
    if (!answer.ok) throw new Error(`${path}: ${await answer.text()}`);
    return (await answer.json()) as Record<string, string>;
  };
  const status = async (name: string) => {
    const answer = await fetch(`${relay.url}/api/v1/syncs/${name}`, { headers });
    return (await answer.json()) as {
      state: string;
      linked: number;
      asked: number;
      quiet: boolean;
    };
  };
  const { token = '' } = await post('agents', { name: 'office-db' });
  agent = startAgent(relay.folder, postgres, token);
  const waits = { timeout: 60_000 };
  await expect
    .poll(async () => await (await fetch(`${relay.url}/api/v1/agents`, { headers })).text(), waits)
    .toContain('"online"');
  const url = `postgres://${ROLE}:${PASSWORD}@127.0.0.1:${postgres.port}/site?sslmode=disable`;
  const through = { kind: 'postgres', agent: 'office-db', target: 'main' };
  await post('connections', { name: 'office', ...through });
  await post('connections', { name: 'site', kind: 'postgres', url });
  for (const name of TABLES) {
    const pair = { left: `public.${name}`, right: `public.${name}`, key: [['id', 'id']] };
    const fields = ['title', 'note'].map((field) => ({ left: field, right: field }));
    const definition = {
      name,
      left: 'office',
      right: 'site',
      table: [{ ...pair, fields, conflict: 'ask' }],
    };
    await post('syncs/apply', { definition });
    await expect.poll(async () => (await status(name)).state, waits).toBe('live');
    // What is agreed on is in the history then.
    postgres.sql('office', `update public.${name} set title = 'The agreed title ' || id`);
    const agreed = `select count(*) from public.${name} where title like 'The agreed%'`;
    await expect.poll(() => postgres.sql('site', agreed), waits).toBe('6');
    await post(`syncs/${name}/pause`);
    postgres.sql('office', `update public.${name} set title = 'The office’s title ' || id`);
    postgres.sql('site', `update public.${name} set title = 'The site’s title ' || id`);
    postgres.sql('office', `insert into public.${name} values (50, 'refused by the site')`);
    await post(`syncs/${name}/resume`);
    await expect.poll(async () => (await status(name)).asked, waits).toBe(6);
  }
});

test.afterAll(async () => {
  await agent?.stop();
  postgres.stop();
});

test('conflicts of all syncs are picked one by one, together and from now on', async ({
  signedIn: page,
}) => {
  await page.goto('/');
  await page.getByRole('link', { name: /Inbox/ }).click();
  await expect(page.getByRole('tab', { name: 'Conflicts (12)' })).toBeVisible();
  const one = page.getByRole('article', { name: '3 in public.pages' });
  await expect(one.getByText('The agreed title 3')).toBeVisible();
  await look(page, 'inbox');
  await one.getByRole('button', { name: 'Keep what site has' }).click();
  await expect(page.getByRole('tab', { name: 'Conflicts (11)' })).toBeVisible();
  const title = (id: number) =>
    postgres.sql('office', `select title from public.pages where id = ${id}`);
  expect(title(3)).toBe('The site’s title 3');

  await page.getByRole('combobox', { name: 'Of which sync' }).click();
  await page.getByRole('option', { name: 'pages' }).click();
  await expect(page.getByRole('article')).toHaveCount(5);
  await page.getByRole('button', { name: 'Keep site in all conflicts about title' }).click();
  await page.getByRole('checkbox', { name: /From now on/ }).check();
  await look(page, 'inbox-pick-all');
  await page.getByRole('button', { name: 'Keep site', exact: true }).click();
  await expect(page.getByText('5 conflicts picked')).toBeVisible();
  await expect(page.getByText('Nothing to pick')).toBeVisible();
  await expect.poll(() => title(6)).toBe('The site’s title 6');
  const file = async () => (await page.request.get('/api/v1/syncs/pages/export')).text();
  await expect.poll(file).toContain('conflict = "right"');
});

test('a finding is tried again when what was in its way is gone', async ({ signedIn: page }) => {
  await page.goto('/inbox?list=findings');
  await expect(page.getByText('refused by the site').or(page.getByText('check'))).not.toHaveCount(
    0,
  );
  await look(page, 'inbox-findings');
  postgres.sql('site', 'alter table public.posts drop constraint posts_title_check');
  await page.getByRole('button', { name: 'Try again: 50 in public.posts' }).click();
  await expect
    .poll(() => postgres.sql('site', 'select count(*) from public.posts where id = 50'))
    .toBe('1');
  await expect(page.getByRole('tab', { name: 'Findings (1)' })).toBeVisible();
});

test('what crosses is seen as it crosses, with how long it took', async ({ signedIn: page }) => {
  await page.goto('/activity');
  await expect(page.getByText('Nothing has crossed yet')).toBeVisible();
  await expect(page.getByRole('status').filter({ hasText: 'Live' })).toBeVisible();
  await look(page, 'activity-empty');
  postgres.sql('office', `update public.pages set note = 'noted'`);
  await expect(page.getByRole('cell', { name: 'updated in site' })).toHaveCount(6);
  await expect(page.getByRole('row', { name: /6 in public.pages/ })).toContainText('note');
  await look(page, 'activity');
  await page.getByRole('button', { name: 'Hold' }).click();
  postgres.sql('office', `update public.pages set note = 'noted again' where id = 1`);
  const noted = `select note from public.pages where id = 1`;
  await expect.poll(() => postgres.sql('site', noted)).toBe('noted again');
  await expect(page.getByRole('cell', { name: 'updated in site' })).toHaveCount(6);
  await page.getByRole('button', { name: 'Go on' }).click();
  await expect(page.getByRole('cell', { name: 'updated in site' })).toHaveCount(7);
});
