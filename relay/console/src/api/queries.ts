/** What pages read, by the names under which it is kept; `live.ts` keeps the first of them up to date. */
import { QueryCache, QueryClient, queryOptions } from '@tanstack/react-query';
import { api, told, toldWhole } from './client';
import { Refusal, refusalOf } from './problem';

export const entrance = queryOptions({
  queryKey: ['entrance'],
  queryFn: () => told(api.GET('/api/v1/entrance')),
});

/** Who is signed in; null: nobody. */
export const me = queryOptions({
  queryKey: ['me'],
  queryFn: async () => {
    try {
      return await told(api.GET('/api/v1/session'));
    } catch (thrown) {
      if (refusalOf(thrown).status === 401) return null;
      throw thrown;
    }
  },
  staleTime: 60_000,
});

export const syncs = queryOptions({
  queryKey: ['syncs'],
  queryFn: () => toldWhole((query) => api.GET('/api/v1/syncs', { params: { query } })),
  staleTime: Infinity,
});

export const agents = queryOptions({
  queryKey: ['agents'],
  queryFn: () => toldWhole((query) => api.GET('/api/v1/agents', { params: { query } })),
  staleTime: Infinity,
});

export const connections = queryOptions({
  queryKey: ['connections'],
  queryFn: () => toldWhole((query) => api.GET('/api/v1/connections', { params: { query } })),
});

/** The apps that connections can be made to. */
export const appKinds = queryOptions({
  queryKey: ['app-kinds'],
  queryFn: () => told(api.GET('/api/v1/app-kinds')),
  staleTime: Infinity,
});

export const drafts = queryOptions({
  queryKey: ['drafts'],
  queryFn: () => toldWhole((query) => api.GET('/api/v1/drafts', { params: { query } })),
});

export const egress = queryOptions({
  queryKey: ['egress'],
  queryFn: () => told(api.GET('/api/v1/egress')),
  staleTime: Infinity,
});

/** Asks again what may help: an answer that did not come, not a refusal. */
function isWorthARetry(tries: number, thrown: unknown): boolean {
  return tries < 2 && refusalOf(thrown).status === 0;
}

export function newQueries(): QueryClient {
  const queries: QueryClient = new QueryClient({
    queryCache: new QueryCache({
      onError: (thrown, query) => {
        const isOurs = query.queryKey[0] === 'me';
        if (!isOurs && thrown instanceof Refusal && thrown.status === 401) {
          queries.setQueryData(me.queryKey, null);
        }
      },
    }),
    defaultOptions: {
      queries: { retry: isWorthARetry, staleTime: 5_000, refetchOnWindowFocus: false },
      mutations: { retry: false },
    },
  });
  return queries;
}
