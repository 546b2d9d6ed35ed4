/** What the relay knows of both sides, for the steps to offer. */
import { queryOptions } from '@tanstack/react-query';
import { api, told } from '../../api/client';
import { definitionOf, type Draft, type Existing } from './draft';

type SideOfDraft = { name: string; schema: string | null };

export function suggestions(left: SideOfDraft, right: SideOfDraft) {
  const query = {
    left: left.name,
    right: right.name,
    ...(left.schema ? { left_schema: left.schema } : {}),
    ...(right.schema ? { right_schema: right.schema } : {}),
  };
  return queryOptions({
    queryKey: ['suggestions', query],
    queryFn: () => told(api.GET('/api/v1/mapping/tables', { params: { query } })),
  });
}

export function fieldMap(
  [left, right]: [string, string],
  { left: leftTable, right: rightTable }: { left: string; right: string },
) {
  const query = { left, right, left_table: leftTable, right_table: rightTable };
  return queryOptions({
    queryKey: ['fields', query],
    queryFn: () => told(api.GET('/api/v1/mapping/fields', { params: { query } })),
  });
}

/** The tables of a connection, with what stands in their way and how it is mended. */
export function catalog(name: string) {
  return queryOptions({
    queryKey: ['catalog', name],
    queryFn: () =>
      told(api.GET('/api/v1/connections/{name}/tables', { params: { path: { name } } })),
    enabled: name !== '',
    staleTime: 60_000,
  });
}

export function tested(name: string) {
  return queryOptions({
    queryKey: ['tested', name],
    queryFn: () =>
      told(api.POST('/api/v1/connections/{name}/test', { params: { path: { name } } })),
    enabled: name !== '',
    staleTime: 60_000,
    retry: false,
  });
}

export function countOf(name: string, table: string, filter: string) {
  return queryOptions({
    queryKey: ['count', name, table, filter],
    queryFn: () => {
      const body = { table, ...(filter ? { filter } : {}) };
      const params = { path: { name } };
      return told(api.POST('/api/v1/connections/{name}/count', { params, body }));
    },
    retry: false,
  });
}

/** What the start would do if all tables took their existing data this way. */
export function outcomeOf(draft: Draft, existing: Existing, isAsked: boolean) {
  const tables = draft.tables.map((table) => ({ ...table, existing }));
  const definition = definitionOf({ ...draft, tables });
  return queryOptions({
    queryKey: ['outcome', definition],
    queryFn: () => told(api.POST('/api/v1/syncs/plan', { body: definition })),
    enabled: isAsked,
    staleTime: 30_000,
    retry: false,
  });
}
