/**
 * What every test of the console starts from: a relay, its first administrator signed in, and a page
 * that is watched: whatever breaks the policy, asks another server or throws fails the test.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { expect, test as bare, type Page } from '@playwright/test';
import type { AxeResults } from 'axe-core';
import { startRelay, type Relay } from './relay';

export const ADMIN = { name: 'ada@example.com', password: 'correct horse battery staple' };

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const shots = join(import.meta.dirname, '../shots');

/** Files with different worlds have relays of their own: Playwright starts a worker for each. */
type PerWorker = { world: string; relay: Relay };
type PerTest = { neighbours: string[]; watched: void; signedIn: Page };

export const test = bare.extend<PerTest, PerWorker>({
  world: ['', { scope: 'worker', option: true }],
  relay: [
    // oxlint-disable-next-line no-empty-pattern -- Playwright reads the names of what is needed here.
    async ({}, lend) => {
      const relay = await startRelay();
      await lend(relay);
      await relay.stop();
    },
    { scope: 'worker' },
  ],
  baseURL: ({ relay }, lend) => lend(relay.url),
  /** Beginnings of what other servers' pages ask for, where a test leads to such a page. */
  neighbours: [[], { option: true }],
  watched: [
    async ({ page, relay, neighbours }, lend) => {
      const broken: string[] = [];
      page.on('pageerror', (error) => broken.push(error.message));
      page.on('console', (message) => {
        if (message.text().includes('Content Security Policy')) broken.push(message.text());
      });
      page.on('request', (request) => {
        const known = [relay.url, 'data:', ...neighbours];
        if (!known.some((start) => request.url().startsWith(start)))
          broken.push(`asked ${request.url()}`);
      });
      await lend();
      expect(broken).toEqual([]);
    },
    { auto: true },
  ],
  signedIn: async ({ page, relay }, lend) => {
    const { needs_setup } = (await (await page.request.get('/api/v1/entrance')).json()) as {
      needs_setup: boolean;
    };
    const secret = new URL(relay.setupLink).hash.slice(1);
    const answer = needs_setup
      ? await page.request.post('/api/v1/setup', { data: { secret, ...ADMIN } })
      : await page.request.post('/api/v1/session', { data: ADMIN });
    expect(answer.ok()).toBe(true);
    await lend(page);
  },
});

export { expect };

/** The page as people see it: nothing serious for axe, and pictures of it to look at. */
export async function look(page: Page, name: string): Promise<void> {
  await expect(page.getByRole('status').filter({ hasText: 'Loading' })).toHaveCount(0);
  for (const scheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
    await expect(page.locator('html')).toHaveAttribute('data-mantine-color-scheme', scheme);
    await settled(page);
    await checkAccess(page, `${name}, ${scheme}`);
    await page.screenshot({ path: join(shots, `${name}-${scheme}.png`), fullPage: true });
  }
  await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'reduce' });
  const wide = page.viewportSize() ?? { width: 1280, height: 860 };
  await page.setViewportSize({ width: 390, height: 844 });
  await page.screenshot({ path: join(shots, `${name}-narrow.png`), fullPage: true });
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  expect(overflow, `${name} is wider than a phone`).toBeLessThanOrEqual(0);
  await page.setViewportSize(wide);
}

/** Colours on their way from one scheme to the other have no contrast to check yet. */
async function settled(page: Page) {
  await page.evaluate(async () => {
    const frame = () => new Promise((shown) => requestAnimationFrame(shown));
    await frame();
    await frame();
    const ending = document
      .getAnimations()
      .filter((one) => one.effect?.getComputedTiming().iterations !== Infinity);
    await Promise.all(ending.map((one) => one.finished.catch(() => undefined)));
  });
}

async function checkAccess(page: Page, name: string) {
  await page.evaluate(axe);
  const results = await page.evaluate(async () => {
    const { axe } = globalThis as unknown as { axe: { run: () => Promise<AxeResults> } };
    return axe.run();
  });
  const serious = results.violations
    .filter((one) => one.impact === 'serious' || one.impact === 'critical')
    .map((one) => ({ rule: one.id, where: one.nodes.map((node) => node.html.slice(0, 160)) }));
  expect(serious, name).toEqual([]);
}
