/** Lets whoever is signed in to the pages within, and keeps these live; sends others to sign in. */
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { createContext, useContext, useEffect, useState } from 'react';
import { Navigate, Outlet, useLocation } from 'react-router';
import { Feed } from '../../api/feed';
import { FeedContext, listen } from '../../api/live';
import { me } from '../../api/queries';
import type { Me, Role } from '../../api/schema';
import { Told } from '../../parts/Told';

export const MeContext = createContext<Me | undefined>(undefined);

/** Who is signed in. Only within the gate. */
export function useMe(): Me {
  const known = useContext(MeContext);
  if (!known) throw new Error('useMe is for pages within the gate');
  return known;
}

const RANKS: Record<Role, number> = { viewer: 0, editor: 1, admin: 2 };

/** Whether one's role reaches. What it does not reach is not offered; the relay refuses it anyway. */
export function useMay(least: Role): boolean {
  return RANKS[useMe().role] >= RANKS[least];
}

export function Gate() {
  const query = useQuery(me);
  const from = useLocation();
  return (
    <Told query={query}>
      {(known) =>
        known ? (
          <MeContext value={known}>
            <Live key={`${known.workspace}/${known.name}`} />
          </MeContext>
        ) : (
          <Navigate to="/sign-in" replace state={{ from: `${from.pathname}${from.search}` }} />
        )
      }
    </Told>
  );
}

function Live() {
  const queries = useQueryClient();
  const [feed] = useState(() => new Feed());
  useEffect(() => listen(queries, feed), [queries, feed]);
  return (
    <FeedContext value={feed}>
      <Outlet />
    </FeedContext>
  );
}
