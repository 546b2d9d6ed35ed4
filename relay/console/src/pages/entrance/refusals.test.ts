import { expect, test } from 'vitest';
import { refusalWords } from './refusals';

test('a refusal says what to do, and what is not known is no silence', () => {
  expect(refusalWords(null)).toBeUndefined();
  expect(refusalWords('name-taken')).toContain('connect the provider');
  expect(refusalWords('of a later version')).toContain('Try again');
});
