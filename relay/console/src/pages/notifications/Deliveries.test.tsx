import { MantineProvider } from '@mantine/core';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { render, screen } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { afterEach, expect, test, vi } from 'vitest';
import { api } from '../../api/client';
import type { Delivery, Role } from '../../api/schema';
import { MeContext } from '../entrance/Gate';
import { Deliveries } from './Deliveries';

const SENT: Delivery = {
  id: 7,
  message: 'msg_1',
  summary: 'Agent `office` is not connected',
  state: 'given-up',
  failed_attempts: 12,
  last_error: 'hooks.example.com answers HTTP 500',
  created_at: '2026-11-27T12:00:00Z',
};

function shown(role: Role) {
  const list = [SENT, { ...SENT, id: 6, state: 'delivered', last_error: null }];
  vi.spyOn(api, 'GET').mockResolvedValue({ data: list, response: new Response() } as never);
  const who = { name: 'ada', role, workspace: 'default', is_person: true };
  render(
    <MantineProvider>
      <QueryClientProvider client={new QueryClient()}>
        <MeContext value={who}>
          <Deliveries name="ops" />
        </MeContext>
      </QueryClientProvider>
    </MantineProvider>,
  );
}

afterEach(() => vi.restoreAllMocks());

test('what was given up, and nothing else, can be sent again', async () => {
  const answer = { data: { ...SENT, state: 'pending' }, response: new Response() };
  const post = vi.spyOn(api, 'POST').mockResolvedValue(answer as never);
  shown('admin');
  await userEvent.click(await screen.findByRole('button', { name: /^Send again/ }));
  expect(post).toHaveBeenCalledWith('/api/v1/channels/{name}/deliveries/{id}/resend', {
    params: { path: { name: 'ops', id: 7 } },
  });
});

test('whoever only looks sends nothing again', async () => {
  shown('editor');
  expect(await screen.findByText('Given up')).toBeTruthy();
  expect(screen.queryByRole('button')).toBeNull();
});
