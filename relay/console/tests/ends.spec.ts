/** What a sync is made between: an agent paired from the console, and connections added and tested. */
import { startAgent, type Agent } from './agent';
import { expect, look, test } from './console';
import { PASSWORD, ROLE, startPostgres, type Postgres } from './postgres';

test.use({ world: 'ends' });

// Each goes on from what the one before left.
test.describe.configure({ mode: 'serial' });

let postgres: Postgres;
let agent: Agent | undefined;

test.beforeAll(async ({ relay }) => {
  postgres = await startPostgres(relay.folder);
  postgres.sql('office', 'create table posts (id int primary key, title text)');
});

test.afterAll(async () => {
  await agent?.stop();
  postgres.stop();
});

test('an agent is paired by the token that the page shows, and the page sees it come', async ({
  signedIn: page,
  relay,
}) => {
  await page.goto('/agents');
  await look(page, 'agents-empty');
  await page.getByRole('button', { name: 'Pair an agent' }).click();
  await page.getByLabel('Name').fill('office-db');
  await page.getByRole('button', { name: 'Make a pairing token' }).click();
  await expect(page.getByText('Waiting for office-db')).toBeVisible();
  await page.getByText('Docker', { exact: true }).click();
  await look(page, 'agents-pairing');
  const commands = await page.getByText("<<'TOKEN'").textContent();
  const token = commands?.split('\n')[1] ?? '';
  agent = startAgent(relay.folder, postgres, token);
  await expect(page.getByText('office-db is online')).toBeVisible();
  await expect(page.getByRole('dialog').getByText(agent.fingerprint)).toBeVisible();
  await look(page, 'agents-paired');
  await page.getByRole('button', { name: 'Done' }).click();
  await expect(page.getByText('main: database office')).toBeVisible();
  await look(page, 'agents');
});

test('connections are added by agent and directly, tested, and told what is wrong', async ({
  signedIn: page,
}) => {
  await page.goto('/connections');
  await look(page, 'connections-empty');
  await page.getByRole('button', { name: 'Add a connection' }).click();
  await page.getByLabel('Name').fill('office-db');
  await page.getByRole('combobox', { name: 'Agent' }).click();
  await page.getByRole('option', { name: 'office-db' }).click();
  await page.getByRole('combobox', { name: 'Database' }).click();
  await page.getByRole('option', { name: 'main (office)' }).click();
  await page.getByRole('button', { name: 'Add and test' }).click();
  await expect(page.getByText('It can be synced')).toBeVisible();
  await look(page, 'connection-added');
  await page.getByRole('button', { name: 'Done' }).click();

  await page.getByRole('button', { name: 'Add a connection' }).click();
  await page.getByText('PostgreSQL directly', { exact: true }).click();
  await page.getByRole('textbox', { name: 'Name', exact: true }).fill('site');
  await page.getByRole('textbox', { name: 'Host' }).fill('127.0.0.1');
  await page.getByRole('textbox', { name: 'Port' }).fill(`${postgres.port}`);
  await page.getByRole('textbox', { name: 'Database name' }).fill('site');
  await page.getByRole('textbox', { name: 'User' }).fill(ROLE);
  await page.getByRole('textbox', { name: 'Password' }).fill(`wrong-${PASSWORD}`);
  await page.getByRole('combobox', { name: 'TLS' }).click();
  await page.getByRole('option', { name: /disable/ }).click();
  await page.getByRole('combobox', { name: 'Where is it hosted?' }).click();
  await page.getByRole('option', { name: 'Amazon RDS or Aurora' }).click();
  await expect(page.getByText('203.0.113.7')).toBeVisible();
  await page.getByRole('button', { name: 'Add and test' }).click();
  await expect(page.getByRole('alert').filter({ hasText: 'password' })).toBeVisible();
  await look(page, 'connection-refused');
  // Corrected, it is made anew.
  await page.getByRole('textbox', { name: 'Password' }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Add and test' }).click();
  await expect(page.getByText('It can be synced')).toBeVisible();
  await page.getByRole('button', { name: 'Done' }).click();
  const site = page.getByRole('heading', { name: 'site' });
  await expect(site).toBeVisible();
  await page.getByRole('button', { name: 'Remove' }).last().click();
  await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
  await expect(site).toHaveCount(0);
  await look(page, 'connections');
});
