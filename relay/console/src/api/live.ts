/**
 * The relay's event stream, one for the whole page: it keeps syncs and agents in the cache as they are,
 * and feeds what crosses. Nothing polls. A hidden tab gives its stream back: browsers open
 * six connections to one host, and the relay has a bound as well.
 */
import type { QueryClient } from '@tanstack/react-query';
import { createContext, useContext, useEffect, useState, useSyncExternalStore } from 'react';
import { Feed } from './feed';
import { agents, me, syncs } from './queries';
import type { Activity, AgentStatus, Gone, LiveEvent, SyncStatus } from './schema';

/** Before a stream is opened anew that was refused, ms. Broken ones the browser opens by itself. */
const REOPEN_MS = 3_000;

type Named = { name: string };

/** A list with one of its members as it is now. */
export function withOne<T extends Named>(list: T[] | undefined, one: T): T[] | undefined {
  if (!list) return list;
  const others = list.filter((known) => known.name !== one.name);
  return [...others, one].toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

function without<T extends Named>(list: T[] | undefined, name: string): T[] | undefined {
  return list?.filter((known) => known.name !== name);
}

/** Listens until it is told to stop. */
export function listen(queries: QueryClient, feed: Feed): () => void {
  let source: EventSource | undefined;
  let again: ReturnType<typeof setTimeout> | undefined;

  const reload = () => {
    void queries.invalidateQueries({ queryKey: syncs.queryKey });
    void queries.invalidateQueries({ queryKey: agents.queryKey });
  };
  // The answer that is on its way may be older than what was told just now.
  const askAgainIfUnderWay = (queryKey: readonly string[]) => {
    if (queries.isFetching({ queryKey })) void queries.invalidateQueries({ queryKey });
  };
  const close = () => {
    clearTimeout(again);
    source?.close();
    source = undefined;
  };
  const open = () => {
    close();
    source = new EventSource('/api/v1/events');
    const on = <T>(name: string, take: (data: T) => void) =>
      source?.addEventListener(name, (event: MessageEvent<string>) =>
        take(JSON.parse(event.data) as T),
      );
    // What happened between the last look and now was not told.
    source.addEventListener('open', () => {
      feed.link('live');
      reload();
    });
    source.addEventListener('error', () => {
      feed.link('lost');
      if (source?.readyState !== EventSource.CLOSED) return;
      // Refused: perhaps the session has ended.
      void queries.invalidateQueries({ queryKey: me.queryKey });
      again = setTimeout(open, REOPEN_MS);
    });
    on<SyncStatus>('sync', (sync) => {
      queries.setQueryData(syncs.queryKey, (known) => withOne(known, sync));
      askAgainIfUnderWay(syncs.queryKey);
    });
    on<Gone>('sync-gone', ({ name }) => {
      queries.setQueryData(syncs.queryKey, (known) => without(known, name));
      askAgainIfUnderWay(syncs.queryKey);
    });
    on<AgentStatus>('agent', (agent) => {
      queries.setQueryData(agents.queryKey, (known) => withOne(known, agent));
      askAgainIfUnderWay(agents.queryKey);
    });
    on<Gone>('agent-gone', ({ name }) => {
      queries.setQueryData(agents.queryKey, (known) => without(known, name));
      askAgainIfUnderWay(agents.queryKey);
    });
    on<Activity>('activity', (activity) => feed.activity(activity));
    on<LiveEvent>('message', (change) => feed.change(change));
    on<number>('lagged', (count) => {
      feed.lost(count);
      reload();
    });
  };
  const onVisibility = () => (document.hidden ? close() : open());

  document.addEventListener('visibilitychange', onVisibility);
  onVisibility();
  return () => {
    document.removeEventListener('visibilitychange', onVisibility);
    close();
  };
}

export const FeedContext = createContext(new Feed());

/** What the feed tells, and again whenever that changes. */
export function useFeed() {
  const feed = useContext(FeedContext);
  return useSyncExternalStore(feed.subscribe, feed.told);
}

/** A sync's records per moment; moves on while nothing happens, too. */
export function useThroughput(sync: string, everyMs = 5_000): number[] {
  const feed = useContext(FeedContext);
  const [moments, setMoments] = useState(() => feed.throughput(sync));
  useEffect(() => {
    const look = () => setMoments(feed.throughput(sync));
    const timer = setInterval(look, everyMs);
    const stop = feed.subscribe(look);
    return () => {
      clearInterval(timer);
      stop();
    };
  }, [feed, sync, everyMs]);
  return moments;
}
