/** Where one can go; with how much waits there. */
import { Badge, NavLink } from '@mantine/core';
import {
  IconBroadcast,
  IconLayoutDashboard,
  IconPlugConnected,
  IconUsers,
} from '@tabler/icons-react';
import type { ReactNode } from 'react';
import { useMay } from '../../pages/entrance/Gate';
import { NavLink as RouterLink, useLocation } from 'react-router';

type Place = { to: string; label: string; icon: ReactNode; waits?: number };

export function Links({ onGo }: { onGo?: () => void }) {
  const { pathname } = useLocation();
  const isAdmin = useMay('admin');
  const places: Place[] = [
    { to: '/', label: 'Overview', icon: <IconLayoutDashboard size={18} aria-hidden /> },
    { to: '/agents', label: 'Agents', icon: <IconBroadcast size={18} aria-hidden /> },
    { to: '/connections', label: 'Connections', icon: <IconPlugConnected size={18} aria-hidden /> },
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
              <Badge size="sm" color="red" variant="filled">
                {waits}
              </Badge>
            ) : undefined
          }
        />
      ))}
    </nav>
  );
}
