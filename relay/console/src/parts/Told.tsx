/** What a query told, or that it is on its way, or why it did not come. */
import type { UseQueryResult } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { Loading } from './Loading';
import { ProblemNote } from './ProblemNote';

type Props<T> = {
  query: UseQueryResult<T>;
  lines?: number;
  children: (data: T) => ReactNode;
};

export function Told<T>({ query, lines, children }: Props<T>) {
  // What was told before is better than nothing, and is what the page goes on with.
  if (query.data !== undefined) return children(query.data);
  if (query.isError) {
    return <ProblemNote thrown={query.error} onRetry={() => void query.refetch()} />;
  }
  return <Loading {...(lines === undefined ? {} : { lines })} />;
}
