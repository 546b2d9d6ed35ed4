/** What is asked of the relay about notifications, and what their events are called. */
import { infiniteQueryOptions, queryOptions } from '@tanstack/react-query';
import { api, pages, toldPage, toldWhole } from '../../api/client';
import type { ChannelEvent } from '../../api/schema';

/** How often is looked whether something arrived: the event stream does not tell. */
const AGAIN_MS = 15_000;

export const channels = queryOptions({
  queryKey: ['channels'],
  queryFn: () => toldWhole((query) => api.GET('/api/v1/channels', { params: { query } })),
  refetchInterval: AGAIN_MS,
});

export const deliveries = (name: string) =>
  infiniteQueryOptions({
    queryKey: ['deliveries', name],
    queryFn: ({ pageParam: cursor }) => {
      const query = { limit: 20, ...(cursor ? { cursor } : {}) };
      const params = { path: { name }, query };
      return toldPage(api.GET('/api/v1/channels/{name}/deliveries', { params }));
    },
    ...pages,
    staleTime: 0,
  });

export const EVENTS: { group: string; events: { value: ChannelEvent; label: string }[] }[] = [
  {
    group: 'Syncs',
    events: [
      { value: 'sync.stopped', label: 'A sync has stopped and waits for a person' },
      { value: 'sync.approval', label: 'It would delete many records and waits for an approval' },
      { value: 'sync.waiting', label: 'It does not reach one of its sides' },
      { value: 'sync.stuck', label: 'It takes changes in and writes none' },
      { value: 'sync.part-paused', label: 'It leaves out tables or fields since a migration' },
      { value: 'sync.findings', label: 'Records can’t be synced' },
      { value: 'sync.conflicts', label: 'Conflicts wait for somebody to pick a side' },
      { value: 'sync.differences', label: 'A verify found differences' },
    ],
  },
  {
    group: 'Slots',
    events: [
      { value: 'slot.near-bound', label: 'A database keeps nearly as much for a slot as it may' },
      { value: 'slot.lost', label: 'A slot was lost' },
    ],
  },
  {
    group: 'Agents',
    events: [
      { value: 'agent.offline', label: 'An agent is not connected' },
      { value: 'agent.held', label: 'It holds sessions or writes back' },
      { value: 'agent.certificate', label: 'Its certificate ends within a day' },
      { value: 'agent.cloned', label: 'Two agents use one identity' },
    ],
  },
  {
    group: 'The relay',
    events: [
      { value: 'authority.ends', label: 'One of its authorities ends within 90 days' },
      { value: 'channel.failing', label: 'Notifications don’t arrive at another channel' },
    ],
  },
];

export const EVERYTHING: ChannelEvent[] = EVENTS.flatMap(({ events }) =>
  events.map((event) => event.value),
);

/** What a channel is told of, in a few words. */
export function toldOf(events: ChannelEvent[] | null | undefined): string {
  if (!events) return 'Everything';
  const known = EVENTS.flatMap((group) => group.events);
  const [first] = events;
  const one = known.find((event) => event.value === first);
  if (events.length === 1 && one) return one.label;
  return `${events.length} of ${EVERYTHING.length} kinds of events`;
}
