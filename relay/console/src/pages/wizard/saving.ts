/** Keeps what was begun at the relay, so that one may leave and come back, also elsewhere. */
import { queryOptions, useQueryClient } from '@tanstack/react-query';
import { useRef, useState } from 'react';
import { useNavigate } from 'react-router';
import { api, told, toldWithTag } from '../../api/client';
import { useOnce } from '../../api/once';
import { refusalOf } from '../../api/problem';
import { drafts } from '../../api/queries';
import { EMPTY, type Draft } from './draft';

export type Saved = { id?: number; tag: string; draft: Draft };

export function draftQuery(id: string | undefined) {
  return queryOptions({
    queryKey: ['draft', id ?? 'new'],
    queryFn: async (): Promise<Saved> => {
      if (id === undefined) return { tag: '', draft: EMPTY };
      const path = { id: Number(id) };
      const { data, tag } = await toldWithTag(api.GET('/api/v1/drafts/{id}', { params: { path } }));
      return { id: data.id, tag, draft: { ...EMPTY, ...(data.content as Partial<Draft>) } };
    },
    // What is on the page is newer than what was saved.
    staleTime: Infinity,
    gcTime: 0,
  });
}

export type Saving = {
  words: string;
  save: (draft: Draft) => void;
  /** The sync of this name was started: the draft has done its work. */
  drop: (started: string) => Promise<void>;
};

export function useSaving(first: Saved): Saving {
  const queries = useQueryClient();
  const navigate = useNavigate();
  const known = useRef(first);
  const once = useOnce();
  const queue = useRef(Promise.resolve());
  const [words, setWords] = useState('Nothing is written anywhere before you start it.');

  const saveNow = async (draft: Draft) => {
    // The document says of it only that it is an object.
    const content = draft as unknown as Record<string, never>;
    const body = { name: draft.name || 'New sync', content };
    const { id, tag } = known.current;
    if (id === undefined) {
      const made = await once.make(body, (header) =>
        toldWithTag(api.POST('/api/v1/drafts', { body, params: { header } })),
      );
      known.current = { id: made.data.id, tag: made.tag, draft };
      window.history.replaceState(window.history.state, '', `/syncs/new/${made.data.id}`);
    } else {
      const params = { path: { id }, header: { 'if-match': tag } };
      const kept = await toldWithTag(api.PUT('/api/v1/drafts/{id}', { params, body }));
      known.current = { id, tag: kept.tag, draft };
    }
    setWords('Kept: you can leave and go on later.');
    void queries.invalidateQueries({ queryKey: drafts.queryKey });
  };

  return {
    words,
    // One after the other, so that each knows the version that the one before made.
    save: (draft) => {
      const saved = queue.current.then(() => saveNow(draft));
      queue.current = saved.catch((thrown) =>
        setWords(`This draft could not be kept: ${refusalOf(thrown).message}`),
      );
    },
    drop: async (started) => {
      await queue.current;
      const { id } = known.current;
      if (id !== undefined) {
        const path = { id };
        await told(api.DELETE('/api/v1/drafts/{id}', { params: { path } })).catch(() => undefined);
      }
      void queries.invalidateQueries({ queryKey: drafts.queryKey });
      await navigate(`/syncs/${encodeURIComponent(started)}`);
    },
  };
}
