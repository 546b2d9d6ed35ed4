/** What is asked of the relay about people. */
import { infiniteQueryOptions, queryOptions } from '@tanstack/react-query';
import { api, pages, told, toldPage, toldWhole } from '../../api/client';
import type { Role } from '../../api/schema';

export const users = queryOptions({
  queryKey: ['users'],
  queryFn: () => toldWhole((query) => api.GET('/api/v1/users', { params: { query } })),
});

export const tokens = queryOptions({
  queryKey: ['tokens'],
  queryFn: () => toldWhole((query) => api.GET('/api/v1/tokens', { params: { query } })),
});

export const audit = infiniteQueryOptions({
  queryKey: ['audit'],
  queryFn: ({ pageParam: cursor }) => {
    const query = { limit: 50, ...(cursor ? { cursor } : {}) };
    return toldPage(api.GET('/api/v1/audit', { params: { query } }));
  },
  ...pages,
  staleTime: 0,
});

export const auditCheck = queryOptions({
  queryKey: ['audit-check'],
  queryFn: () => told(api.GET('/api/v1/audit/verify')),
  gcTime: 0,
});

export const ROLES: { value: Role; label: string }[] = [
  { value: 'viewer', label: 'Viewer: sees' },
  { value: 'editor', label: 'Editor: makes and changes syncs' },
  { value: 'admin', label: 'Admin: agents and people, too' },
];
