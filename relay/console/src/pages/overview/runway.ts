/** How long a sync's slots may go unread: the shortest of both sides, said shortly. Pure. */
import type { SlotStatus } from '../../api/schema';
import { bytes, span } from '../../parts/words';

/** Where there is more, nobody counts the days. */
const HOURS_MANY = 30 * 24;
const HOURS_FEW = 24;

export type Room = { words: string; tone: 'care' | undefined };

export function room(slots: SlotStatus[]): Room {
  const held = slots.filter((slot) => slot.state === 'reading' || slot.state === 'idle');
  if (held.length === 0) return { words: '–', tone: undefined };
  const hours = held.flatMap((slot) => slot.runway_hours ?? []);
  if (hours.length > 0) {
    const least = Math.min(...hours);
    if (least >= HOURS_MANY) return { words: 'over 30 days', tone: undefined };
    return { words: span(least * 3_600_000), tone: least < HOURS_FEW ? 'care' : undefined };
  }
  const room = held.flatMap((slot) => slot.runway_bytes ?? []);
  if (room.length === 0) return { words: 'no bound', tone: undefined };
  return { words: bytes(Math.min(...room)), tone: undefined };
}
