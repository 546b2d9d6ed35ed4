/**
 * By keyboard alone, from an empty relay to a live sync with a real app: pairing, both connections, a
 * missing key, every step of the wizard. No click, and no drag.
 */
import { startAgent, type Agent } from './agent';
import { expect, look, test } from './console';
import { Keys } from './keys';
import { startKinto, type Kinto } from './kinto';
import { startPostgres, type Postgres } from './postgres';

test.use({ world: 'keyboard' });
test.describe.configure({ mode: 'serial', timeout: 180_000 });

let postgres: Postgres;
let kinto: Kinto;
let agent: Agent | undefined;

test.beforeAll(async ({ relay }) => {
  postgres = await startPostgres(relay.folder);
  // Without a primary key, and with a schema beside it.
  postgres.sql(
    'office',
    `create table posts (slug text not null, title text, mood text, visits int);
     insert into posts select 'post-' || n, 'Title ' || n, 'good', n from generate_series(1, 20) n;
     create schema archive; create table archive.posts (id int primary key, slug text)`,
  );
  kinto = await startKinto(relay.folder, {
    slug: { type: ['string', 'null'] },
    title: { type: ['string', 'null'] },
    feeling: { type: ['string', 'null'] },
    label: { type: ['string', 'null'] },
  });
});

test.afterAll(async () => {
  await agent?.stop();
  await kinto.stop();
  postgres.stop();
});

test('the wizard goes from nothing to a live sync with an app by keyboard alone', async ({
  signedIn: page,
  relay,
}) => {
  const keys = new Keys(page);
  const dialog = page.getByRole('dialog').last();
  const button = (name: string | RegExp, exact = true) =>
    page.getByRole('button', { name, exact: typeof name === 'string' && exact });
  const began = Date.now();
  await page.goto('/');
  await keys.press(page.getByRole('link', { name: 'Create sync' }));
  await keys.type(page.getByRole('textbox', { name: 'Name of the sync' }), 'posts');

  // PostgreSQL, through an agent that is paired from here.
  await keys.press(button('Add a connection'));
  await keys.type(page.getByRole('textbox', { name: 'Name', exact: true }), 'office');
  await keys.press(button('Pair an agent'));
  await keys.type(dialog.getByRole('textbox', { name: 'Name' }), 'office-db');
  await keys.press(button('Make a pairing token'));
  const commands = await page.getByText("<<'TOKEN'").textContent();
  agent = startAgent(relay.folder, postgres, commands?.split('\n')[1] ?? '');
  await expect(page.getByText('office-db is online')).toBeVisible();
  await expect(dialog.getByText(agent.fingerprint)).toBeVisible();
  await keys.press(button('Done'));
  await keys.choose(page.getByRole('combobox', { name: 'Database' }), /main/);
  await keys.press(button('Add and test'));
  await expect(dialog.getByText('It can be synced')).toBeVisible();
  await keys.press(button('Done'));

  // The app: its kind is chosen, its address and sign-in typed.
  await keys.press(button('Add a connection'));
  await keys.check(page.getByRole('radio', { name: 'App', exact: true }));
  await keys.type(page.getByRole('textbox', { name: 'Name', exact: true }), 'news');
  await keys.choose(page.getByRole('combobox', { name: 'App' }), 'Kinto');
  await keys.type(page.getByRole('textbox', { name: 'Address' }), kinto.baseUrl);
  await keys.type(page.getByRole('textbox', { name: 'User and password' }), kinto.token);
  await keys.check(page.getByRole('checkbox', { name: /network of ours/ }));
  await keys.press(button('Add and test'));
  await expect(dialog.getByText('It can be synced')).toBeVisible();
  await look(page, 'wizard-app-added');
  await keys.press(button('Done'));
  await expect(page.getByText('It can be synced')).toHaveCount(2);
  await keys.choose(page.getByRole('combobox', { name: 'Schema of office' }), 'public');
  await look(page, 'wizard-1-sides');
  await keys.press(button('Continue'));

  // A table without a primary key is given one from here.
  await expect(page.getByRole('checkbox', { name: /posts/ })).toBeDisabled();
  await look(page, 'wizard-2-keyless');
  await keys.press(button('Give it a key: public.posts'));
  await keys.check(page.getByRole('radio', { name: /The column slug/ }));
  await look(page, 'wizard-2-give-key');
  await keys.check(page.getByRole('radio', { name: /A new column id/ }));
  await keys.press(button('Run it in office'));
  await expect(page.getByRole('dialog')).toHaveCount(0);
  await keys.check(page.getByRole('checkbox', { name: /public.posts/ }));
  expect(postgres.sql('office', `select count(id) from posts`)).toBe('20');
  await keys.press(button('Continue'));

  await keys.check(
    page.getByRole('radio', { name: 'What is there, and every change from now on' }),
  );
  await keys.type(
    page.getByRole('textbox', { name: 'Only records of office where' }),
    'visits <= 10',
  );
  await expect(page.getByText('10 of 20 records')).toBeVisible();
  await keys.press(button('Continue'));

  // Fields: a key, a direction, one more pair by words, one that is computed, one removed.
  const fields = page.getByRole('list', { name: 'Mapped fields' });
  const added = page.getByRole('combobox', { name: 'Add a field' });
  await expect(fields.getByText('title').first()).toBeVisible();
  await keys.choose(
    page.getByRole('combobox', { name: 'Records are the same where office’s' }),
    'slug',
  );
  await keys.choose(page.getByRole('combobox', { name: 'equals news’s' }), 'slug');
  await keys.choose(added, 'mood');
  await keys.choose(page.getByRole('combobox', { name: 'with', exact: true }), 'feeling');
  await keys.press(button('Map'));
  await keys.press(fields.getByRole('button', { name: 'mood and feeling: both ways' }));
  await expect(
    fields.getByRole('button', { name: 'mood and feeling: from left to right' }),
  ).toBeVisible();
  await keys.press(fields.getByRole('button', { name: 'Words and links of mood and feeling' }));
  await keys.check(page.getByRole('radio', { name: 'Other words' }));
  await keys.type(page.getByRole('textbox', { name: 'Word 1 in office' }), 'good');
  await keys.type(page.getByRole('textbox', { name: 'Word 1 in news' }), 'happy');
  await look(page, 'wizard-4-words');
  await keys.press(button('Keep'));
  await expect(fields.getByText('1 word mapped')).toBeVisible();
  await keys.check(page.getByRole('radio', { name: 'Computed of office' }));
  await keys.type(
    page.getByRole('textbox', { name: 'Expression over office’s record' }),
    'title + "!"',
  );
  await keys.choose(page.getByRole('combobox', { name: 'fills news’s' }), 'label');
  await keys.press(button('Add'));
  await expect(fields.getByText('Computed.')).toBeVisible();
  await look(page, 'wizard-4-fields');
  await keys.press(button('Continue'));

  // Both sides are small: what each choice would do is counted at once.
  await expect(page.getByText('Creates 10 records in news').first()).toBeVisible();
  await keys.check(page.getByRole('radio', { name: /office is right/ }));
  await look(page, 'wizard-5-existing');
  await keys.press(button('Continue'));

  await expect(page.getByText(/It takes news about/)).toBeVisible();
  await look(page, 'wizard-6-preview');
  await keys.press(button('Start sync'));
  await expect(page.getByRole('heading', { name: 'posts' })).toBeVisible();
  await expect(page.getByText('Live', { exact: true }).last()).toBeVisible();
  test.info().annotations.push({
    type: 'from the first page to a live sync, ms',
    description: `${Date.now() - began}`,
  });
  await expect.poll(async () => (await kinto.records('posts')).length).toBe(10);
  const [record] = (await kinto.records('posts')).filter((one) => one['slug'] === 'post-3');
  expect(record).toMatchObject({ title: 'Title 3', feeling: 'happy', label: 'Title 3!' });

  await kinto.change('posts', String(record?.['id']), { title: 'From the app' });
  const title = () => postgres.sql('office', `select title from posts where slug = 'post-3'`);
  await expect.poll(title).toBe('From the app');
});
