/** Notifications: a channel is added, tried out, changed and removed; a real receiver gets what is sent. */
import { createHmac } from 'node:crypto';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, look, test } from './console';
import { Keys } from './keys';

test.use({ world: 'notifications' });

type Posted = { headers: IncomingHttpHeaders; body: string };

/** Takes what is posted; answers with the next of these statuses, else with 200. */
async function receiver() {
  const posted: Posted[] = [];
  const answers: number[] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      posted.push({ headers: request.headers, body });
      response.writeHead(answers.shift() ?? 200).end();
    });
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/planted-path`, posted, answers, server };
}

test('a channel is added by keys alone, and a test arrives or says why not', async ({
  signedIn: page,
}) => {
  const { url, posted, answers, server } = await receiver();
  await page.goto('/notifications');
  await expect(page.getByText('Nobody is told')).toBeVisible();
  await look(page, 'notifications-none');

  const keys = new Keys(page);
  await keys.press(page.getByRole('button', { name: 'Add a channel' }));
  const dialog = page.getByRole('dialog');
  await keys.type(dialog.getByLabel('Name'), 'ops');
  await keys.type(dialog.getByRole('textbox', { name: 'Incoming webhook' }), url);
  await keys.press(dialog.getByRole('button', { name: 'Add', exact: true }));
  await expect(dialog.getByRole('alert')).toContainText('use https');
  await keys.check(dialog.getByRole('checkbox', { name: /network of ours/ }));
  await look(page, 'notifications-add');
  await keys.press(dialog.getByRole('button', { name: 'Add', exact: true }));
  await keys.press(dialog.getByRole('button', { name: 'Send a test' }));
  await expect(dialog.getByRole('status')).toContainText('The test has arrived');
  expect(JSON.parse(posted[0]?.body ?? '')).toEqual({
    text: '*Tidegate*: a test. Notifications arrive here.',
  });
  await keys.press(dialog.getByRole('button', { name: 'Done' }));

  answers.push(404);
  await page.getByRole('button', { name: 'Send a test to ops' }).click();
  const note = page.getByRole('status', { name: 'The test did not arrive' });
  await expect(note).toContainText('127.0.0.1 answers HTTP 404');
  await look(page, 'notifications');
  expect(await page.content()).not.toContain('planted-path');
  server.close();
});

test('a webhook’s secret is shown once and verifies what arrives', async ({ signedIn: page }) => {
  const { url, posted, server } = await receiver();
  await page.goto('/notifications');
  await page.getByRole('button', { name: 'Add a channel' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('Webhook', { exact: true }).click();
  await dialog.getByLabel('Name').fill('pager');
  await dialog.getByRole('textbox', { name: 'URL' }).fill(url);
  await dialog.getByRole('checkbox', { name: /network of ours/ }).check();
  await dialog.getByRole('button', { name: 'Nothing' }).click();
  await dialog.getByRole('checkbox', { name: 'An agent is not connected' }).check();
  await dialog.getByRole('button', { name: 'Add', exact: true }).click();
  const secret = await dialog.getByText(/^whsec_/).innerText();
  await dialog.getByRole('button', { name: 'Send a test' }).click();
  await expect(dialog.getByRole('status')).toContainText('The test has arrived');
  const [{ headers, body } = { headers: {}, body: '' }] = posted;
  const signed = `${String(headers['webhook-id'])}.${String(headers['webhook-timestamp'])}.${body}`;
  const key = Buffer.from(secret.replace('whsec_', ''), 'base64');
  const expected = createHmac('sha256', key).update(signed).digest('base64');
  expect(headers['webhook-signature']).toBe(`v1,${expected}`);
  await dialog.getByRole('button', { name: 'Done' }).click();
  await expect(page.getByText('An agent is not connected')).toBeVisible();
  expect(await page.content()).not.toContain(secret);

  // It moves: the new address and a new secret hold for the next message.
  const next = await receiver();
  await page.getByRole('button', { name: 'Edit address of pager' }).click();
  await dialog.getByRole('textbox', { name: 'URL' }).fill(next.url);
  await dialog.getByRole('checkbox', { name: 'Make another secret' }).check();
  await look(page, 'notifications-edit');
  await dialog.getByRole('button', { name: 'Save' }).click();
  const renewed = await dialog.getByText(/^whsec_/).innerText();
  expect(renewed).not.toBe(secret);
  await dialog.getByRole('button', { name: 'Send a test' }).click();
  await expect(dialog.getByRole('status')).toContainText('The test has arrived');
  expect([posted.length, next.posted.length]).toEqual([1, 1]);
  await dialog.getByRole('button', { name: 'Done' }).click();
  next.server.close();

  await page.getByRole('button', { name: 'Choose events for pager' }).click();
  await dialog.getByRole('button', { name: 'Everything' }).click();
  await dialog.getByRole('button', { name: 'Save' }).click();
  await expect(page.getByText('An agent is not connected')).toHaveCount(0);
  await page.getByRole('button', { name: 'Turn off pager' }).click();
  await expect(page.getByText('Turned off')).toBeVisible();
  await page.getByRole('button', { name: 'What was sent to pager' }).click();
  await expect(page.getByText('Nothing was sent yet')).toBeVisible();
  await page.getByRole('button', { name: 'Remove pager' }).click();
  await dialog.getByRole('button', { name: 'Remove' }).click();
  await expect(page.getByRole('button', { name: 'Remove pager' })).toHaveCount(0);
  server.close();
});
