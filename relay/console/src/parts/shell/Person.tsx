/** Who one is; light or dark; the way out. */
import { Button, Menu, Text, useMantineColorScheme } from '@mantine/core';
import {
  IconCheck,
  IconDeviceDesktop,
  IconKey,
  IconLink,
  IconLogout,
  IconMoon,
  IconSun,
  IconUserCircle,
} from '@tabler/icons-react';
import { useDisclosure } from '@mantine/hooks';
import { notifications } from '@mantine/notifications';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { lazy, Suspense } from 'react';
import { api, told } from '../../api/client';
import { refusalOf } from '../../api/problem';
import { entrance, me } from '../../api/queries';
import { useMe } from '../../pages/entrance/Gate';
import classes from './Person.module.css';

/** With what forms need, which the first page does not. */
const NewPassword = lazy(async () => {
  const part = await import('./NewPassword');
  return { default: part.NewPassword };
});

const SCHEMES = [
  { name: 'light', label: 'Light', icon: IconSun },
  { name: 'dark', label: 'Dark', icon: IconMoon },
  { name: 'auto', label: 'As the system', icon: IconDeviceDesktop },
] as const;

export function Person() {
  const who = useMe();
  const [isChanging, password] = useDisclosure(false);
  const queries = useQueryClient();
  const provider = useQuery(entrance).data?.provider;
  const connect = useMutation({
    mutationFn: () =>
      told(api.POST('/api/v1/session/oidc/connect', { body: { to: '/?connected' } })),
    onSuccess: ({ location }) => window.location.assign(location),
    onError: (thrown) => notifications.show({ color: 'red', message: refusalOf(thrown).message }),
  });
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const signOut = useMutation({
    mutationFn: () => told(api.DELETE('/api/v1/session')),
    // Also when the session had ended already.
    onSettled: () => {
      queries.setQueryData(me.queryKey, null);
      queries.removeQueries({ predicate: ({ queryKey }) => queryKey[0] !== me.queryKey[0] });
    },
  });
  return (
    <>
      {isChanging && (
        <Suspense>
          <NewPassword onClose={password.close} />
        </Suspense>
      )}
      <Menu position="bottom-end" width={230} withinPortal>
        <Menu.Target>
          <Button
            variant="subtle"
            color="gray"
            leftSection={<IconUserCircle size={20} aria-hidden />}
            className={classes.person}
            aria-label={`Your account: ${who.name}`}
          >
            <span className={classes.name}>{who.name}</span>
          </Button>
        </Menu.Target>
        <Menu.Dropdown>
          <Menu.Label>
            <Text size="sm" fw={600} c="bright" truncate>
              {who.name}
            </Text>
            {who.role} in {who.workspace}
          </Menu.Label>
          <Menu.Divider />
          {SCHEMES.map(({ name, label, icon: Icon }) => (
            <Menu.Item
              key={name}
              leftSection={<Icon size={16} aria-hidden />}
              rightSection={
                colorScheme === name ? <IconCheck size={16} aria-label="chosen" /> : null
              }
              onClick={() => setColorScheme(name)}
            >
              {label}
            </Menu.Item>
          ))}
          <Menu.Divider />
          <Menu.Item leftSection={<IconKey size={16} aria-hidden />} onClick={password.open}>
            Change your password
          </Menu.Item>
          {provider && (
            <Menu.Item
              leftSection={<IconLink size={16} aria-hidden />}
              onClick={() => connect.mutate()}
            >
              Connect {provider}
            </Menu.Item>
          )}
          <Menu.Item
            leftSection={<IconLogout size={16} aria-hidden />}
            onClick={() => signOut.mutate()}
          >
            Sign out
          </Menu.Item>
        </Menu.Dropdown>
      </Menu>
    </>
  );
}
