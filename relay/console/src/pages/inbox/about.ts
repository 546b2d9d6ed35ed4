/** What waits for a person, of one sync or of all. */
import { infiniteQueryOptions, type QueryClient } from '@tanstack/react-query';
import { api, pages, toldPage } from '../../api/client';
import { syncs as syncsQuery } from '../../api/queries';

/** `count`: how many there are by now. It is part of the name: where it changes, so does the list. */
export function conflicts(sync: string | null, count: number) {
  return infiniteQueryOptions({
    queryKey: ['conflicts', sync, count],
    queryFn: ({ pageParam: cursor }) => {
      const which = { waiting: true, base: true, ...(sync ? { sync } : {}) };
      const query = { ...which, limit: 25, ...(cursor ? { cursor } : {}) };
      return toldPage(api.GET('/api/v1/conflicts', { params: { query } }));
    },
    ...pages,
    placeholderData: (before) => before,
  });
}

export function findings(sync: string | null, code: string | null, count: number) {
  return infiniteQueryOptions({
    queryKey: ['findings', sync, code, count],
    queryFn: ({ pageParam: cursor }) => {
      const which = { ...(sync ? { sync } : {}), ...(code ? { code } : {}) };
      const query = { ...which, limit: 50, ...(cursor ? { cursor } : {}) };
      return toldPage(api.GET('/api/v1/findings', { params: { query } }));
    },
    ...pages,
    placeholderData: (before) => before,
  });
}

/** After something was picked or tried again. */
export async function lookAgain(queries: QueryClient): Promise<void> {
  await queries.invalidateQueries({ queryKey: syncsQuery.queryKey });
  await queries.invalidateQueries({ queryKey: ['conflicts'] });
  await queries.invalidateQueries({ queryKey: ['findings'] });
}
