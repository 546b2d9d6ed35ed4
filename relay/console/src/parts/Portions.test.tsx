import { MantineProvider } from '@mantine/core';
import { render, screen } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, test } from 'vitest';
import { Portions } from './Portions';

test('a long list says how long it is and is shown to its end', async () => {
  const list = Array.from({ length: 120 }, (_, number) => `row ${number}`);
  render(
    <MantineProvider>
      <Portions list={list}>{(shown) => shown.map((one) => <p key={one}>{one}</p>)}</Portions>
    </MantineProvider>,
  );
  expect(screen.getAllByText(/^row/)).toHaveLength(50);
  expect(screen.getByText('50 of 120')).toBeTruthy();
  await userEvent.click(screen.getByRole('button', { name: 'Show more' }));
  await userEvent.click(screen.getByRole('button', { name: 'Show more' }));
  expect(screen.getAllByText(/^row/)).toHaveLength(120);
  expect(screen.queryByRole('button')).toBeNull();
});
