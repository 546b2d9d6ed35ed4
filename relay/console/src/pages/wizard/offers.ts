/** What the relay knows of both sides, for the steps to offer. */
import { queryOptions } from '@tanstack/react-query';
import { api, told } from '../../api/client';

export function suggestions(left: string, right: string) {
  return queryOptions({
    queryKey: ['suggestions', left, right],
    queryFn: () => told(api.GET('/api/v1/mapping/tables', { params: { query: { left, right } } })),
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

/** The catalog has no type in the API's document: of it only the names are used. */
type Catalog = { tables: { schema: string; name: string; primary_key: string[] }[] };

/** The names of a connection's tables, as sync files have them. */
export function tables(name: string) {
  return queryOptions({
    queryKey: ['tables', name],
    queryFn: async () => {
      const path = { name };
      const found = api.GET('/api/v1/connections/{name}/tables', { params: { path } });
      const catalog = (await told(found)) as Catalog;
      return catalog.tables
        .filter((table) => table.primary_key.length > 0)
        .map((table) => (table.schema ? `${table.schema}.${table.name}` : table.name));
    },
    enabled: name !== '',
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
