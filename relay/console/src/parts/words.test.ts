import { expect, test } from 'vitest';
import { bytes, fromNow, many, span } from './words';

test('counts agree with their nouns', () => {
  expect(many(1, 'record')).toBe('1 record');
  expect(many(0, 'record')).toBe('0 records');
  expect(many(2, 'copy', 'copies')).toBe('2 copies');
});

test('sizes are said in powers of 1024, as PostgreSQL does', () => {
  expect(bytes(0)).toBe('0 B');
  expect(bytes(1023)).toBe('1023 B');
  expect(bytes(1536)).toBe('1.5 KB');
  expect(bytes(10 * 2 ** 30)).toBe('10 GB');
});

test('spans are said in the unit that a person would take', () => {
  expect(span(0.4)).toBe('<1 ms');
  expect(span(12)).toBe('12 ms');
  expect(span(1_500)).toBe('1.5 s');
  expect(span(60_000)).toBe('60 s');
  expect(span(7_200_000)).toBe('2 h');
  expect(span(3 * 86_400_000)).toBe('3 days');
});

test('moments are told from now, past and future', () => {
  const now = new Date('2026-11-26T12:00:00Z');
  expect(fromNow(new Date('2026-11-26T11:59:58Z'), now)).toBe('just now');
  expect(fromNow(new Date('2026-11-26T11:57:00Z'), now)).toBe('3 minutes ago');
  expect(fromNow(new Date('2026-11-26T14:00:00Z'), now)).toBe('in 2 hours');
});
