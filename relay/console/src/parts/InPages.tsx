/** A long list: the pages that were asked for, and a button for the next one. */
import { Button } from '@mantine/core';
import type { InfiniteData, UseInfiniteQueryResult } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import type { Paged } from '../api/client';
import { Loading } from './Loading';
import { ProblemNote } from './ProblemNote';
import classes from './InPages.module.css';

type Props<T> = {
  query: UseInfiniteQueryResult<InfiniteData<Paged<T>>>;
  children: (items: T[]) => ReactNode;
};

export function InPages<T>({ query, children }: Props<T>) {
  if (query.data === undefined) {
    if (query.isError) {
      return <ProblemNote thrown={query.error} onRetry={() => void query.refetch()} />;
    }
    return <Loading />;
  }
  return (
    <>
      {children(query.data.pages.flatMap((page) => page.items))}
      {query.isFetchNextPageError && <ProblemNote thrown={query.error} />}
      {query.hasNextPage && (
        <Button
          className={classes.more ?? ''}
          variant="default"
          loading={query.isFetchingNextPage}
          onClick={() => void query.fetchNextPage()}
        >
          Show more
        </Button>
      )}
    </>
  );
}
