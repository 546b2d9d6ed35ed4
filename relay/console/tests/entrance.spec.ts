/** The way in and out: the first administrator by the link, later by name and password. */
import { ADMIN, expect, look, test } from './console';

const NEXT = 'another sentence that is long';

test.use({ world: 'entrance' });

// Each goes on from what the one before left.
test.describe.configure({ mode: 'serial' });

test('the link that serve prints makes the first administrator, once', async ({ page, relay }) => {
  await page.goto('/');
  await expect(page).toHaveURL(/\/sign-in$/);
  await expect(page.getByText('Nobody can sign in yet')).toBeVisible();
  await look(page, 'sign-in-before-set-up');

  await page.goto(relay.setupLink);
  await page.getByLabel('Name or e-mail address').fill(ADMIN.name);
  await page.getByRole('textbox', { name: 'Password', exact: true }).fill(ADMIN.password);
  await page.getByRole('textbox', { name: 'The password again' }).fill('something else entirely');
  await expect(page.getByText('This is another one')).toBeVisible();
  await look(page, 'set-up');
  await page.getByRole('textbox', { name: 'The password again' }).fill(ADMIN.password);
  await page.getByRole('button', { name: 'Set up and sign in' }).click();

  await expect(page.getByRole('heading', { name: 'Overview' })).toBeVisible();
  await expect(page.getByRole('status').filter({ hasText: 'Live' })).toBeVisible();
  await expect(page.getByText('No syncs yet')).toBeVisible();
  await look(page, 'overview-empty');
});

test('a link into the console is where one is after signing in', async ({ page }) => {
  await page.goto('/nowhere?x=1');
  await page.getByLabel('Name or e-mail address').fill(ADMIN.name);
  await page.getByRole('textbox', { name: 'Password' }).fill('not my password at all');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect(page.getByRole('alert')).toContainText('No user has this name and password');
  await look(page, 'sign-in-refused');
  await page.getByRole('textbox', { name: 'Password' }).fill(ADMIN.password);
  await page.keyboard.press('Enter');
  await expect(page).toHaveURL(/\/nowhere\?x=1$/);
  await expect(page.getByRole('heading', { name: 'There is no such page' })).toBeVisible();
  await look(page, 'nowhere');

  await page.getByRole('button', { name: 'Your account' }).click();
  await page.getByRole('menuitem', { name: 'Sign out' }).click();
  await expect(page).toHaveURL(/\/sign-in$/);
});

test('a person changes the password, and only the new one lets in', async ({ signedIn: page }) => {
  await page.goto('/');
  await page.getByRole('button', { name: 'Your account' }).click();
  await page.getByRole('menuitem', { name: 'Change your password' }).click();
  const dialog = page.getByRole('dialog');
  const fill = async (old: string) => {
    await dialog.getByRole('textbox', { name: 'The password until now' }).fill(old);
    await dialog.getByRole('textbox', { name: 'The new password', exact: true }).fill(NEXT);
    await dialog.getByRole('textbox', { name: 'The new password again' }).fill(NEXT);
    await dialog.getByRole('button', { name: 'Change it' }).click();
  };
  await fill('not my password at all');
  await expect(dialog.getByRole('alert')).toContainText('This is not your password');
  await look(page, 'password');
  await fill(ADMIN.password);
  await expect(dialog.getByText('Your password is changed')).toBeVisible();
  await dialog.getByRole('button', { name: 'Done' }).click();
  // This session goes on, and the old password is none any more.
  await page.reload();
  await expect(page.getByRole('heading', { name: 'Overview' })).toBeVisible();
  const tried = await page.request.post('/api/v1/session', { data: ADMIN });
  expect(tried.status()).toBe(401);
  const letIn = await page.request.post('/api/v1/session', { data: { ...ADMIN, password: NEXT } });
  expect(letIn.ok()).toBe(true);
});

test('the console is served with a strict policy, compressed, and kept by its hash', async ({
  page,
}) => {
  const index = await page.request.get('/');
  const policy = index.headers()['content-security-policy'] ?? '';
  expect(policy).toContain("script-src 'self'");
  expect(policy).not.toContain('unsafe');
  const script = /assets\/[^"]+\.js/.exec(await index.text())?.[0] ?? '';
  const asset = await page.request.get(`/${script}`, { headers: { 'accept-encoding': 'br' } });
  expect(asset.headers()['content-encoding']).toBe('br');
  expect(asset.headers()['cache-control']).toContain('immutable');
});
