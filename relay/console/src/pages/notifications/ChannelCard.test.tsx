import { MantineProvider } from '@mantine/core';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { render, screen } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { afterEach, expect, test, vi } from 'vitest';
import { api } from '../../api/client';
import type { ChannelInfo, Role } from '../../api/schema';
import { MeContext } from '../entrance/Gate';
import { ChannelCard } from './ChannelCard';

const CHANNEL: ChannelInfo = {
  name: 'ops',
  kind: 'slack',
  target: 'hooks.slack.com',
  enabled: true,
  allow_private: false,
  version: 1,
  failed_attempts: 0,
  created_at: '2026-11-27T12:00:00Z',
  changed_at: '2026-11-27T12:00:00Z',
};

function shown(channel: ChannelInfo, role: Role = 'admin') {
  const who = { name: 'ada', role, workspace: 'default', is_person: true };
  render(
    <MantineProvider>
      <QueryClientProvider client={new QueryClient()}>
        <MeContext value={who}>
          <ChannelCard channel={channel} />
        </MeContext>
      </QueryClientProvider>
    </MantineProvider>,
  );
}

afterEach(() => vi.restoreAllMocks());

test('a test that did not arrive says why', async () => {
  const data = { delivered: false, error: 'hooks.slack.com answers HTTP 404' };
  const post = vi.spyOn(api, 'POST').mockResolvedValue({ data, response: new Response() } as never);
  shown(CHANNEL);
  await userEvent.click(screen.getByRole('button', { name: 'Send a test to ops' }));
  expect(post).toHaveBeenCalledWith('/api/v1/channels/{name}/test', {
    params: { path: { name: 'ops' } },
  });
  const note = await screen.findByRole('status');
  expect(note.textContent).toContain('The test did not arrive');
  expect(note.textContent).toContain('Hooks.slack.com answers HTTP 404.');
});

test('what does not arrive is told with how often it was tried', () => {
  shown({ ...CHANNEL, last_error: 'hooks.slack.com did not answer in time', failed_attempts: 3 });
  expect(screen.getByText(/3 attempts in vain: hooks.slack.com did not answer/)).toBeTruthy();
});

test('a channel that is turned off is turned on again', async () => {
  const answer = { data: { channel: CHANNEL, secret: null }, response: new Response() };
  const patch = vi.spyOn(api, 'PATCH').mockResolvedValue(answer as never);
  shown({ ...CHANNEL, enabled: false });
  expect(screen.getByText('Turned off')).toBeTruthy();
  await userEvent.click(screen.getByRole('button', { name: 'Turn on ops' }));
  expect(patch).toHaveBeenCalledWith('/api/v1/channels/{name}', {
    params: { path: { name: 'ops' } },
    body: { enabled: true },
  });
});

test('whoever only looks changes and sends nothing', () => {
  shown(CHANNEL, 'editor');
  expect(screen.queryByRole('button', { name: /Send a test|Turn|Remove|Choose/ })).toBeNull();
  expect(screen.getByRole('button', { name: 'What was sent to ops' })).toBeTruthy();
});
