/** Numbers and times as people say them, in the viewer's language and zone. */

/** What the relay calls the field in which a filter's verdict travels. */
export const VERDICT = '(filter)';

const count = new Intl.NumberFormat();

export function counted(number: number): string {
  return count.format(number);
}

/** `1 record`, `2 records`. */
export function many(number: number, one: string, several = `${one}s`): string {
  return `${counted(number)} ${number === 1 ? one : several}`;
}

const UNITS = ['B', 'KB', 'MB', 'GB', 'TB', 'PB'];

/** In powers of 1024, as PostgreSQL's settings are. */
export function bytes(number: number): string {
  const power = Math.min(UNITS.length - 1, number < 1 ? 0 : Math.floor(Math.log2(number) / 10));
  const scaled = number / 2 ** (10 * power);
  const digits = scaled < 10 && power > 0 ? 1 : 0;
  return `${scaled.toFixed(digits)} ${UNITS[power]}`;
}

/** A span of time, from milliseconds to days. */
export function span(ms: number): string {
  if (ms < 1) return '<1 ms';
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  const s = ms / 1_000;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 90) return `${Math.round(s)} s`;
  if (s < 5_400) return `${Math.round(s / 60)} min`;
  if (s < 172_800) return `${Math.round(s / 3_600)} h`;
  return `${counted(Math.round(s / 86_400))} days`;
}

const STEPS: [number, Intl.RelativeTimeFormatUnit][] = [
  [60, 'second'],
  [60, 'minute'],
  [24, 'hour'],
  [30, 'day'],
  [12, 'month'],
  [Infinity, 'year'],
];

/** `3 minutes ago`, `in 2 hours`. */
export function fromNow(at: Date, now = new Date()): string {
  let left = (at.getTime() - now.getTime()) / 1_000;
  if (Math.abs(left) < 5) return 'just now';
  const words = new Intl.RelativeTimeFormat(undefined, { numeric: 'auto' });
  for (const [size, unit] of STEPS) {
    if (Math.abs(left) < size) return words.format(Math.round(left), unit);
    left /= size;
  }
  return words.format(Math.round(left), 'year');
}

const moment = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });

/** The moment itself, to the second. */
export function exactly(at: Date): string {
  return moment.format(at);
}
