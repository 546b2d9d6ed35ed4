/** What is asked of the relay about one sync. */
import { queryOptions, useMutation, useQueryClient } from '@tanstack/react-query';
import { api, told } from '../../api/client';
import { syncs as syncsQuery } from '../../api/queries';
import type { SyncStatus } from '../../api/schema';

export function conflicts(name: string, count: number) {
  return queryOptions({
    // The count is part of the name: where it changes, so does the list.
    queryKey: ['conflicts', name, count],
    queryFn: () =>
      told(
        api.GET('/api/v1/syncs/{name}/conflicts', {
          params: { path: { name }, query: { waiting: true } },
        }),
      ),
    placeholderData: (before) => before,
  });
}

export function findings(name: string, count: number) {
  return queryOptions({
    queryKey: ['findings', name, count],
    queryFn: () => told(api.GET('/api/v1/syncs/{name}/findings', { params: { path: { name } } })),
    placeholderData: (before) => before,
  });
}

export function history(name: string, key: string) {
  return queryOptions({
    queryKey: ['history', name, key],
    queryFn: () => {
      const query = { limit: 50, ...(key ? { key } : {}) };
      const params = { path: { name }, query };
      return told(api.GET('/api/v1/syncs/{name}/history', { params }));
    },
  });
}

export function runs(name: string) {
  return queryOptions({
    queryKey: ['runs', name],
    queryFn: () => told(api.GET('/api/v1/syncs/{name}/runs', { params: { path: { name } } })),
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
