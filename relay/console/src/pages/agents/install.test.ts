import { expect, test } from 'vitest';
import { WAYS, commands } from './install';

test('no way gives the token as an argument', () => {
  for (const { value } of WAYS) {
    const lines = commands(value, 'tg_secret').split('\n');
    expect(lines.filter((line) => line.includes('tg_secret'))).toEqual(['tg_secret']);
    expect(lines.some((line) => line.includes('pair'))).toBe(true);
  }
});
