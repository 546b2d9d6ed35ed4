import { MantineProvider } from '@mantine/core';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { render, screen } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { afterEach, expect, test, vi } from 'vitest';
import { api } from '../../api/client';
import type { Catalog, Role } from '../../api/schema';
import { MeContext } from '../entrance/Gate';
import { Keyless } from './Keyless';

const IDENTITY = ['alter table public.log add column id bigint', 'alter table public.log add key'];
const EXISTING = ['alter table public.log add primary key (nr)'];

function catalog(more: Partial<Catalog> = {}): Catalog {
  const log = {
    schema: 'public',
    name: 'log',
    fixes: [
      { kind: 'identity-column', column: 'id', sql: IDENTITY },
      { kind: 'existing-column', column: 'nr', sql: EXISTING },
    ],
  };
  return { tables: [log], allows_ddl: true, ...more } as unknown as Catalog;
}

async function opened(known: Catalog, role: Role = 'admin') {
  const who = { name: 'ada', role, workspace: 'default', is_person: true };
  render(
    <MantineProvider>
      <QueryClientProvider client={new QueryClient()}>
        <MeContext value={who}>
          <Keyless connection="office" schema={null} catalog={known} />
        </MeContext>
      </QueryClientProvider>
    </MantineProvider>,
  );
  await userEvent.click(screen.getByRole('button', { name: 'Give it a key: public.log' }));
}

afterEach(() => vi.restoreAllMocks());

test('exactly the statement that is shown is run', async () => {
  const answer = { data: { sql: EXISTING }, response: new Response() };
  const post = vi.spyOn(api, 'POST').mockResolvedValue(answer as never);
  await opened(catalog());
  expect(await screen.findByText(/add column id bigint;/)).toBeTruthy();
  await userEvent.click(screen.getByRole('radio', { name: /The column nr/ }));
  await userEvent.click(screen.getByRole('button', { name: 'Run it in office' }));
  expect(post).toHaveBeenCalledWith('/api/v1/connections/{name}/fix-key', {
    params: { path: { name: 'office' } },
    body: { table: 'public.log', column: 'nr', expected: EXISTING },
  });
});

test('where the relay may not change the schema the statement is to be copied', async () => {
  await opened(catalog({ allows_ddl: false }));
  expect(await screen.findByText(/allow_ddl/)).toBeTruthy();
  expect(screen.queryByRole('button', { name: /Run it in/ })).toBeNull();
  expect(screen.getByRole('button', { name: 'Look again' })).toBeTruthy();
});

test('only an admin runs it from here', async () => {
  await opened(catalog(), 'editor');
  expect(await screen.findByText(/Only an admin/)).toBeTruthy();
  expect(screen.queryByRole('button', { name: /Run it in/ })).toBeNull();
});
