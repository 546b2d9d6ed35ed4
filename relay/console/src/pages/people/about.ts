/** What is asked of the relay about people. */
import { queryOptions } from '@tanstack/react-query';
import { api, told } from '../../api/client';
import type { Role } from '../../api/schema';

export const users = queryOptions({
  queryKey: ['users'],
  queryFn: () => told(api.GET('/api/v1/users')),
});

export const tokens = queryOptions({
  queryKey: ['tokens'],
  queryFn: () => told(api.GET('/api/v1/tokens')),
});

export const audit = queryOptions({
  queryKey: ['audit'],
  queryFn: () => told(api.GET('/api/v1/audit', { params: { query: { limit: 100 } } })),
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
