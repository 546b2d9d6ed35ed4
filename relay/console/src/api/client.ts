/** The only way to the relay: a client whose types come from its OpenAPI document. */
import createClient from 'openapi-fetch';
import { Refusal } from './problem';
import type { paths } from './schema';

/** The header is what the relay asks of a session's writes: no other site's page can send it. */
export const api = createClient<paths>({ baseUrl: '', headers: { 'x-tidegate': '1' } });

type Answer<T> = { data?: T; error?: unknown; response: Response };

/** What was answered; throws a [`Refusal`]. */
export async function told<T>(answer: Promise<Answer<T>>): Promise<T> {
  const { data, error, response } = await answer.catch(() => {
    throw Refusal.unreachable();
  });
  if (!response.ok) throw Refusal.of(response.status, error);
  return data as T;
}

/** Of an answer with a version: what to send back as `If-Match`. */
export async function toldWithTag<T>(
  answer: Promise<Answer<T>>,
): Promise<{ data: T; tag: string }> {
  const settled = await answer.catch(() => {
    throw Refusal.unreachable();
  });
  const data = await told(Promise.resolve(settled));
  return { data, tag: settled.response.headers.get('etag') ?? '' };
}

/** A page of a long list, and where the next one begins. */
export type Paged<T> = { items: T[]; next: string | undefined };

/** Of a list in pages. */
export async function toldPage<T>(answer: Promise<Answer<T[]>>): Promise<Paged<T>> {
  const settled = await answer.catch(() => {
    throw Refusal.unreachable();
  });
  const items = await told(Promise.resolve(settled));
  return { items, next: settled.response.headers.get('x-next-cursor') ?? undefined };
}

/** Items that are asked for at a time where all are wanted. */
const AT_A_TIME = 500;

/** A list to its end, page by page: syncs, agents and people are looked at as a whole. */
export async function toldWhole<T>(
  ask: (query: { limit: number; cursor?: string }) => Promise<Answer<T[]>>,
): Promise<T[]> {
  const whole: T[] = [];
  let cursor: string | undefined;
  do {
    const page = await toldPage(ask({ limit: AT_A_TIME, ...(cursor ? { cursor } : {}) }));
    whole.push(...page.items);
    cursor = page.next;
  } while (cursor);
  return whole;
}

/** What an infinite query says of its pages. */
export const pages = {
  initialPageParam: undefined as string | undefined,
  getNextPageParam: <T>(last: Paged<T>) => last.next,
};
