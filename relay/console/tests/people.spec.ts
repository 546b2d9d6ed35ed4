/** Who may do what: people, tokens, and the log of what was done. */
import { ADMIN, expect, look, test } from './console';

test.use({ world: 'people' });

test('an administrator lets people and programs in, and the log shows it', async ({
  signedIn: page,
}) => {
  await page.goto('/people');
  await expect(page.getByRole('cell', { name: ADMIN.name }).first()).toBeVisible();
  await page.getByRole('button', { name: 'Add a user' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Name or e-mail address').fill('grace@example.com');
  await dialog.getByRole('textbox', { name: 'First password' }).fill('a first password of hers');
  await look(page, 'people-add');
  await dialog.getByRole('button', { name: 'Add' }).click();
  await expect(page.getByRole('combobox', { name: 'Role of grace@example.com' })).toHaveValue(
    /Viewer/,
  );

  await page.getByRole('button', { name: 'Make a token' }).click();
  await dialog.getByRole('textbox', { name: 'Name' }).fill('ci');
  await dialog.getByRole('button', { name: 'Make it' }).click();
  await expect(dialog.getByText('it is not shown again')).toBeVisible();
  await dialog.getByRole('button', { name: 'Done' }).click();
  await page.getByRole('button', { name: 'Revoke ci' }).click();
  await dialog.getByRole('button', { name: 'Revoke' }).click();
  await expect(page.getByRole('button', { name: 'Revoke ci' })).toHaveCount(0);

  await page.getByRole('button', { name: 'Remove grace@example.com' }).click();
  await expect(page.getByRole('button', { name: 'Remove grace@example.com' })).toHaveCount(0);
  await page.reload();
  await expect(page.getByRole('cell', { name: 'grace@example.com' }).first()).toBeVisible();
  await page.getByRole('button', { name: 'Check that nothing was changed' }).click();
  await expect(page.getByText(/As it was written/)).toBeVisible();
  await look(page, 'people');
});
