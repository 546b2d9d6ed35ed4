/** What is asked of the relay about one sync. */
import {
  infiniteQueryOptions,
  queryOptions,
  useMutation,
  useQueryClient,
} from '@tanstack/react-query';
import { api, pages, told, toldPage } from '../../api/client';
import { syncs as syncsQuery } from '../../api/queries';
import type { SyncStatus } from '../../api/schema';

export function history(name: string, key: string) {
  return infiniteQueryOptions({
    queryKey: ['history', name, key],
    queryFn: ({ pageParam: cursor }) => {
      const query = { limit: 50, ...(key ? { key } : {}), ...(cursor ? { cursor } : {}) };
      const params = { path: { name }, query };
      return toldPage(api.GET('/api/v1/syncs/{name}/history', { params }));
    },
    ...pages,
  });
}

export function runs(name: string) {
  return infiniteQueryOptions({
    queryKey: ['runs', name],
    queryFn: ({ pageParam: cursor }) => {
      const query = { limit: 20, ...(cursor ? { cursor } : {}) };
      const params = { path: { name }, query };
      return toldPage(api.GET('/api/v1/syncs/{name}/runs', { params }));
    },
    ...pages,
  });
}

/** The sync's file, as it was applied. */
export function fileOf(name: string) {
  return queryOptions({
    queryKey: ['file', name],
    queryFn: () => {
      const params = { path: { name } };
      return told(api.GET('/api/v1/syncs/{name}/export', { params, parseAs: 'text' }));
    },
    // An edit begins with what is there now, and is not overwritten while it is typed.
    staleTime: Infinity,
    gcTime: 0,
  });
}

/** Something that is done to a sync and answered with how it is then. */
export function useOrder(order: () => Promise<SyncStatus | undefined>) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: order,
    onSettled: () => queries.invalidateQueries({ queryKey: syncsQuery.queryKey }),
  });
}
