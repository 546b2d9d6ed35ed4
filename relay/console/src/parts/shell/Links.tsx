/** Where one can go; with how much waits there. */
import { Badge, NavLink } from '@mantine/core';
import {
  IconActivity,
  IconBell,
  IconBroadcast,
  IconInbox,
  IconLayoutDashboard,
  IconPlugConnected,
  IconUsers,
} from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { syncs as syncsQuery } from '../../api/queries';
import { useMay } from '../../pages/entrance/Gate';
import { NavLink as RouterLink, useLocation } from 'react-router';

type Place = { to: string; label: string; icon: ReactNode; waits?: number };

/** Conflicts and findings of all syncs. */
function useWaiting(): number {
  const syncs = useQuery(syncsQuery);
  return (syncs.data ?? []).reduce((sum, sync) => sum + sync.asked + sync.findings, 0);
}

export function Links({ onGo }: { onGo?: () => void }) {
  const { pathname } = useLocation();
  const isAdmin = useMay('admin');
  const places: Place[] = [
    { to: '/', label: 'Overview', icon: <IconLayoutDashboard size={18} aria-hidden /> },
    {
      to: '/inbox',
      label: 'Inbox',
      icon: <IconInbox size={18} aria-hidden />,
      waits: useWaiting(),
    },
    { to: '/activity', label: 'Activity', icon: <IconActivity size={18} aria-hidden /> },
    { to: '/agents', label: 'Agents', icon: <IconBroadcast size={18} aria-hidden /> },
    { to: '/connections', label: 'Connections', icon: <IconPlugConnected size={18} aria-hidden /> },
    { to: '/notifications', label: 'Notifications', icon: <IconBell size={18} aria-hidden /> },
  ];
  if (isAdmin) {
    places.push({ to: '/people', label: 'People', icon: <IconUsers size={18} aria-hidden /> });
  }
  return (
    <nav aria-label="Main">
      {places.map(({ to, label, icon, waits }) => (
        <NavLink
          key={to}
          component={RouterLink}
          to={to}
          label={label}
          leftSection={icon}
          active={to === '/' ? pathname === '/' : pathname.startsWith(to)}
          {...(onGo ? { onClick: onGo } : {})}
          rightSection={
            waits ? (
              <Badge size="sm" color="red.9" variant="filled" aria-label={`${waits} waiting`}>
                {waits}
              </Badge>
            ) : undefined
          }
        />
      ))}
    </nav>
  );
}
