import { MantineProvider } from '@mantine/core';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { render, screen } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { MemoryRouter } from 'react-router';
import { afterEach, expect, test, vi } from 'vitest';
import type { ConflictReport, Role } from '../../api/schema';
import { api } from '../../api/client';
import { MeContext } from '../entrance/Gate';
import { ConflictCard } from './ConflictCard';

const CONFLICT: ConflictReport = {
  id: 7,
  sync: 'blog',
  at: '2026-11-27T12:00:00Z',
  table: 'public.posts',
  left_key: '3',
  left_field: 'title',
  left: 'the red car',
  right: 'the blue car',
  base: 'the old car',
  base_known: true,
  waiting: true,
};

function shown(conflict: ConflictReport, role: Role = 'editor') {
  const who = { name: 'ada', role, workspace: 'default', is_person: true };
  render(
    <MantineProvider>
      <QueryClientProvider client={new QueryClient()}>
        <MemoryRouter>
          <MeContext value={who}>
            <ConflictCard conflict={conflict} sides={['office', 'site']} />
          </MeContext>
        </MemoryRouter>
      </QueryClientProvider>
    </MantineProvider>,
  );
}

afterEach(() => vi.restoreAllMocks());

test('all three values stand side by side, and what differs is marked', () => {
  shown(CONFLICT);
  expect(screen.getByText('the old car')).toBeTruthy();
  const marks = [...document.querySelectorAll('mark')].map((mark) => mark.textContent);
  expect(marks).toEqual(['red', 'blue']);
});

test('a value before that is not known is not taken for an empty one', () => {
  shown({ ...CONFLICT, base: null, base_known: false });
  expect(screen.getByText('not kept')).toBeTruthy();
  expect(document.querySelectorAll('mark')).toHaveLength(0);
});

test('a pick names the conflict and the side', async () => {
  const answer = { data: { ...CONFLICT, picked: 'right' }, response: new Response() };
  const post = vi.spyOn(api, 'POST').mockResolvedValue(answer as never);
  shown(CONFLICT);
  await userEvent.click(screen.getByRole('button', { name: 'Keep what site has' }));
  expect(post).toHaveBeenCalledWith('/api/v1/syncs/{name}/conflicts/{id}/pick', {
    params: { path: { name: 'blog', id: 7 } },
    body: { side: 'right' },
  });
});

test('a pick that is refused says why, and the conflict stays', async () => {
  const problem = { status: 409, code: 'pick-refused', detail: 'the record changed since' };
  const answer = { error: problem, response: new Response(null, { status: 409 }) };
  vi.spyOn(api, 'POST').mockResolvedValue(answer as never);
  shown(CONFLICT);
  await userEvent.click(screen.getByRole('button', { name: 'Keep what office has' }));
  expect((await screen.findByRole('alert')).textContent).toContain('The record changed since.');
  expect(screen.getByText('the old car')).toBeTruthy();
});

test('whoever only looks can pick nothing', () => {
  shown(CONFLICT, 'viewer');
  expect(screen.queryByRole('button', { name: /Keep/ })).toBeNull();
});
