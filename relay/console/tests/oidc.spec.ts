/** Signing in with a provider of identities, a real one. */
import type { Page } from '@playwright/test';
import { ADMIN, expect, look, test as bare } from './console';
import { startWithProvider, type WithProvider } from './provider';

const test = bare.extend<object, { both: WithProvider }>({
  both: [
    // oxlint-disable-next-line no-empty-pattern -- Playwright reads the names of what is needed here.
    async ({}, lend) => {
      const both = await startWithProvider();
      await lend(both);
      await both.stop();
    },
    { scope: 'worker' },
  ],
  relay: [async ({ both }, lend) => lend(both.relay), { scope: 'worker' }],
  neighbours: async ({ both, page }, lend) => {
    // The provider's form asks for a font of others, which is not what is tested.
    const fonts = 'https://fonts.googleapis.com/';
    await page.route(`${fonts}**`, (route) => route.abort());
    await lend([both.issuer, fonts]);
  },
});

test.use({ world: 'oidc' });

// Each goes on from what the one before left.
test.describe.configure({ mode: 'serial' });

/** At the provider's own pages. */
async function signInThere(page: Page, name: string) {
  await page.getByPlaceholder('Enter any login').fill(name);
  await page.getByPlaceholder('and password').fill('any');
  await page.getByRole('button', { name: 'Sign-in' }).click();
  await page.getByRole('button', { name: 'Continue' }).click();
}

test('whom the provider vouches for and a rule admits is in, where they wanted to be', async ({
  signedIn: page,
  context,
}) => {
  // The administrator made this relay; somebody else comes.
  await context.clearCookies();
  await page.goto('/activity?x=1');
  await expect(page).toHaveURL(/\/sign-in$/);
  const button = page.getByRole('button', { name: 'Sign in with Example' });
  await expect(button).toBeVisible();
  await look(page, 'sign-in-provider');
  await button.click();
  await signInThere(page, 'ann');
  await expect(page).toHaveURL(/\/activity\?x=1$/);
  await expect(page.getByRole('button', { name: 'Your account: ann@example.com' })).toBeVisible();
  const me = (await (await page.request.get('/api/v1/session')).json()) as { role: string };
  expect(me.role).toBe('editor');

  await page.getByRole('button', { name: 'Your account' }).click();
  await expect(page.getByRole('menuitem', { name: 'Connect Example' })).toBeVisible();
  await page.getByRole('menuitem', { name: 'Sign out' }).click();
  // The provider remembers her: one click.
  await page.getByRole('button', { name: 'Sign in with Example' }).click();
  await expect(page.getByRole('button', { name: 'Your account: ann@example.com' })).toBeVisible();
});

for (const [name, title, words] of [
  ['bob', 'with an address that is not verified', 'verified e-mail address'],
  ['eve', 'whom no rule admits', 'not let in here'],
] as const) {
  test(`somebody ${title} is told what to do`, async ({ page }) => {
    await page.goto('/sign-in');
    await page.getByRole('button', { name: 'Sign in with Example' }).click();
    await signInThere(page, name);
    await expect(page).toHaveURL(/\/sign-in\?refused=/);
    await expect(page.getByRole('alert')).toContainText(words);
    await look(page, `sign-in-refused-${name}`);
  });
}

test('a sign-in that is cancelled at the provider leads back', async ({ page }) => {
  await page.goto('/sign-in');
  await page.getByRole('button', { name: 'Sign in with Example' }).click();
  await page.getByRole('link', { name: 'Cancel' }).click();
  await expect(page.getByRole('alert')).toContainText('cancelled');
});

test('a user with a password connects the provider, and comes in by it from then on', async ({
  signedIn: page,
  context,
}) => {
  await page.goto('/');
  await page.getByRole('button', { name: 'Your account' }).click();
  await page.getByRole('menuitem', { name: 'Connect Example' }).click();
  await signInThere(page, 'eve');
  await expect(page.getByText('You are connected')).toBeVisible();
  await look(page, 'provider-connected');
  await context.clearCookies();
  await page.goto('/');
  await page.getByRole('button', { name: 'Sign in with Example' }).click();
  await signInThere(page, 'eve');
  await expect(page.getByRole('button', { name: `Your account: ${ADMIN.name}` })).toBeVisible();
});

test('an admin invites an address without a password', async ({ signedIn: page }) => {
  await page.goto('/people');
  await page.getByRole('button', { name: 'Add a user' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Name or e-mail address').fill('new@example.com');
  await dialog.getByRole('checkbox', { name: 'Signs in with Example' }).check();
  await look(page, 'people-invite');
  await dialog.getByRole('button', { name: 'Add' }).click();
  await expect(page.getByText('signs in with the provider').first()).toBeVisible();
});

test('without a browser: each step over HTTP, and a code that is used twice', async ({
  both,
  playwright,
}) => {
  const http = await playwright.request.newContext({ maxRedirects: 0 });
  const api = `${both.relay.url}/api/v1/session/oidc`;
  const begun = await http.post(api, { data: { to: '/syncs' } });
  const { location } = (await begun.json()) as { location: string };
  /** The provider leads from page to page, and its forms are sent. */
  const follow = async (url: string): Promise<string> => {
    const answer = await http.get(url);
    const next = answer.headers()['location'];
    if (next) return next.startsWith(api) ? next : follow(new URL(next, url).href);
    const form = /action="([^"]+)"/.exec(await answer.text())?.[1] ?? '';
    const isSignIn = (await answer.text()).includes('name="login"');
    const fields: Record<string, string> = isSignIn
      ? { prompt: 'login', login: 'ann', password: 'any' }
      : { prompt: 'consent' };
    const sent = await http.post(new URL(form, url).href, { form: fields });
    return follow(new URL(sent.headers()['location'] ?? '', url).href);
  };
  const back = await follow(location);
  expect(new URL(back).searchParams.get('iss')).toBe(both.issuer);
  const done = await http.get(back);
  expect([done.status(), done.headers()['location']]).toEqual([303, '/syncs']);
  const me = await http.get(`${both.relay.url}/api/v1/session`);
  expect(((await me.json()) as { name: string }).name).toBe('ann@example.com');
  const again = await http.get(back);
  expect(again.headers()['location']).toBe('/sign-in?refused=stale');
  await http.dispose();
});
