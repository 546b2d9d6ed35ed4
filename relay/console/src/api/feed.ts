/**
 * What crossed since this page was opened: the last changes, and how many records per moment. The relay
 * keeps no such figures, so this is a window onto now, not a history.
 */
import type { Activity, LiveEvent } from './schema';

/** Changes that are kept; older ones are in the sync's history. */
const CHANGES_MAX = 500;
/** Length of one moment of the throughput, ms. */
export const MOMENT_MS = 5_000;
/** Moments that are kept: five minutes. */
export const MOMENTS_MAX = 60;

export type Crossed = LiveEvent & { id: number; at: number };
export type Link = 'connecting' | 'live' | 'lost';
export type Told = { link: Link; changes: readonly Crossed[]; lost: number };

export class Feed {
  #told: Told = { link: 'connecting', changes: [], lost: 0 };
  #moments = new Map<string, Map<number, number>>();
  #next = 0;
  #listeners = new Set<() => void>();

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  told = (): Told => this.#told;

  link(link: Link) {
    this.#tell({ ...this.#told, link });
  }

  /** So many messages never came. */
  lost(count: number) {
    this.#tell({ ...this.#told, lost: this.#told.lost + count });
  }

  change(event: LiveEvent, now = Date.now()) {
    const crossed = { ...event, id: this.#next++, at: now };
    const changes = [crossed, ...this.#told.changes.slice(0, CHANGES_MAX - 1)];
    this.#tell({ ...this.#told, changes });
  }

  activity(activity: Activity, now = Date.now()) {
    const moments = this.#moments.get(activity.sync) ?? new Map<number, number>();
    const moment = Math.floor(now / MOMENT_MS);
    const records = activity.creates + activity.updates + activity.deletes;
    moments.set(moment, (moments.get(moment) ?? 0) + records);
    for (const known of moments.keys()) {
      if (known <= moment - MOMENTS_MAX) moments.delete(known);
    }
    this.#moments.set(activity.sync, moments);
    this.#tell({ ...this.#told });
  }

  /** Records per moment of a sync, the oldest first. */
  throughput(sync: string, now = Date.now()): number[] {
    const moments = this.#moments.get(sync);
    const last = Math.floor(now / MOMENT_MS);
    return Array.from({ length: MOMENTS_MAX }, (_, index) => {
      return moments?.get(last - MOMENTS_MAX + 1 + index) ?? 0;
    });
  }

  #tell(told: Told) {
    this.#told = told;
    this.#listeners.forEach((listener) => listener());
  }
}
