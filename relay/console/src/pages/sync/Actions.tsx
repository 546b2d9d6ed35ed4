/** What can be done with a sync as a whole. */
import { Button, Menu, Text } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { useDisclosure } from '@mantine/hooks';
import {
  IconDots,
  IconDownload,
  IconPencil,
  IconPlayerPause,
  IconPlayerPlay,
  IconTrash,
} from '@tabler/icons-react';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { Link, useNavigate } from 'react-router';
import { api, told } from '../../api/client';
import { refusalOf } from '../../api/problem';
import { syncs as syncsQuery } from '../../api/queries';
import type { SyncStatus } from '../../api/schema';
import { Confirm } from '../../parts/Confirm';
import { useMay } from '../entrance/Gate';
import { useOrder } from './about';

export function Actions({ sync }: { sync: SyncStatus }) {
  const mayEdit = useMay('editor');
  const [isAsking, ask] = useDisclosure(false);
  const params = { path: { name: sync.name } };
  const isPaused = sync.state === 'paused';
  const turn = useOrder(() =>
    told(
      isPaused
        ? api.POST('/api/v1/syncs/{name}/resume', { params })
        : api.POST('/api/v1/syncs/{name}/pause', { params }),
    ),
  );
  return (
    <>
      {mayEdit && (
        <Button
          variant={isPaused ? 'filled' : 'default'}
          leftSection={
            isPaused ? (
              <IconPlayerPlay size={16} aria-hidden />
            ) : (
              <IconPlayerPause size={16} aria-hidden />
            )
          }
          loading={turn.isPending}
          onClick={() => turn.mutate()}
        >
          {isPaused ? 'Resume' : 'Pause'}
        </Button>
      )}
      <Menu position="bottom-end">
        <Menu.Target>
          <Button variant="default" aria-label={`More for ${sync.name}`}>
            <IconDots size={18} aria-hidden />
          </Button>
        </Menu.Target>
        <Menu.Dropdown>
          {mayEdit && (
            <Menu.Item
              component={Link}
              to={`/syncs/${encodeURIComponent(sync.name)}/edit`}
              leftSection={<IconPencil size={16} aria-hidden />}
            >
              Edit
            </Menu.Item>
          )}
          <Menu.Item
            leftSection={<IconDownload size={16} aria-hidden />}
            onClick={() => void exported(sync.name)}
          >
            Save as sync.toml
          </Menu.Item>
          {mayEdit && (
            <Menu.Item
              className="danger"
              leftSection={<IconTrash size={16} aria-hidden />}
              onClick={ask.open}
            >
              Remove
            </Menu.Item>
          )}
        </Menu.Dropdown>
      </Menu>
      {isAsking && <Remove sync={sync} onClose={ask.close} />}
    </>
  );
}

async function exported(name: string) {
  try {
    const params = { path: { name } };
    const text = await told(api.GET('/api/v1/syncs/{name}/export', { params, parseAs: 'text' }));
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([text], { type: 'application/toml' }));
    link.download = `${name}.toml`;
    link.click();
    URL.revokeObjectURL(link.href);
  } catch (thrown) {
    notifications.show({ color: 'red', title: 'Not saved', message: refusalOf(thrown).message });
  }
}

function Remove({ sync, onClose }: { sync: SyncStatus; onClose: () => void }) {
  const queries = useQueryClient();
  const navigate = useNavigate();
  const [isForced, setForced] = useState(false);
  const remove = useMutation({
    mutationFn: () => {
      const params = { path: { name: sync.name }, query: { force: isForced } };
      return told(api.DELETE('/api/v1/syncs/{name}', { params }));
    },
    // A side that can't be reached keeps its slot: a person may decide to leave it.
    onError: () => setForced(true),
    onSuccess: async (removed) => {
      for (const left of removed.left_behind) {
        const message = `${left.reason} Run there: ${left.sql.join('; ')}`;
        notifications.show({ title: `Left in ${left.connection}`, message, autoClose: false });
      }
      await queries.invalidateQueries({ queryKey: syncsQuery.queryKey });
      await navigate('/');
    },
  });
  return (
    <Confirm
      title={`Remove ${sync.name}?`}
      verb={isForced ? 'Remove all the same' : 'Remove'}
      isDangerous
      isPending={remove.isPending}
      thrown={remove.error}
      onConfirm={() => remove.mutate()}
      onClose={onClose}
    >
      <Text>
        The records stay as they are on both sides. What Tidegate made in the databases for it is
        dropped: slots, publications, triggers. Its history is forgotten.
      </Text>
    </Confirm>
  );
}
