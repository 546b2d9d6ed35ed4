/** One channel: where it leads, what it is told of, whether that arrives, and a test. */
import { Button, Group, Modal, Stack, Text } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { notifications } from '@mantine/notifications';
import { IconAlertTriangle, IconCircleCheck, IconCircleDashed } from '@tabler/icons-react';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { api, told } from '../../api/client';
import { refusalOf } from '../../api/problem';
import type { ChannelChange, ChannelInfo } from '../../api/schema';
import { Confirm } from '../../parts/Confirm';
import { Panel } from '../../parts/Panel';
import { ProblemNote } from '../../parts/ProblemNote';
import { When } from '../../parts/When';
import { many } from '../../parts/words';
import { useMay } from '../entrance/Gate';
import { EVERYTHING, channels as channelsQuery, toldOf } from './about';
import { Deliveries } from './Deliveries';
import { EditChannel } from './EditChannel';
import { Events } from './Events';
import { Sent } from './Sent';
import classes from './Notifications.module.css';
import rows from '../../parts/Row.module.css';

const KINDS: Record<string, string> = { slack: 'Slack', email: 'E-mail', webhook: 'Webhook' };

export function ChannelCard({ channel }: { channel: ChannelInfo }) {
  const mayChange = useMay('admin');
  const queries = useQueryClient();
  const [isRemoving, remove] = useDisclosure(false);
  const [isChoosing, choose] = useDisclosure(false);
  const [isEditing, edit] = useDisclosure(false);
  const [isOpen, open] = useDisclosure(false);
  const path = { name: channel.name };
  const again = () => queries.invalidateQueries({ queryKey: channelsQuery.queryKey });
  const test = useMutation({
    mutationFn: () => told(api.POST('/api/v1/channels/{name}/test', { params: { path } })),
  });
  const change = useMutation({
    mutationFn: (body: ChannelChange) =>
      told(api.PATCH('/api/v1/channels/{name}', { params: { path }, body })),
    onError: (thrown) =>
      notifications.show({ color: 'red', title: channel.name, message: refusalOf(thrown).message }),
    onSettled: again,
  });
  return (
    <Panel className={rows.row}>
      <div className={rows.head}>
        <div className={rows.name}>
          <Text component="h2" fw={650} size="md">
            {channel.name}
          </Text>
          <Text size="sm" c="dimmed">
            {KINDS[channel.kind] ?? channel.kind} to {channel.target}
          </Text>
        </div>
        {mayChange && (
          <Group gap="xs">
            <Button
              size="compact-sm"
              variant="default"
              loading={test.isPending}
              aria-label={`Send a test to ${channel.name}`}
              onClick={() => test.mutate()}
            >
              Send a test
            </Button>
            <Button
              size="compact-sm"
              variant="default"
              aria-label={`Choose events for ${channel.name}`}
              onClick={choose.open}
            >
              Choose events
            </Button>
            <Button
              size="compact-sm"
              variant="default"
              aria-label={`Edit address of ${channel.name}`}
              onClick={edit.open}
            >
              Edit address
            </Button>
            <Button
              size="compact-sm"
              variant="default"
              loading={change.isPending}
              aria-label={`Turn ${channel.enabled ? 'off' : 'on'} ${channel.name}`}
              onClick={() => change.mutate({ enabled: !channel.enabled })}
            >
              {channel.enabled ? 'Turn off' : 'Turn on'}
            </Button>
            <Button
              size="compact-sm"
              variant="subtle"
              className="danger"
              aria-label={`Remove ${channel.name}`}
              onClick={remove.open}
            >
              Remove
            </Button>
          </Group>
        )}
      </div>
      <Group gap="xs" justify="space-between">
        <Stack gap={2}>
          <Text size="sm">{toldOf(channel.events)}</Text>
          <Standing channel={channel} />
        </Stack>
        <Button
          size="compact-sm"
          variant="subtle"
          aria-expanded={isOpen}
          aria-label={`${isOpen ? 'Hide what' : 'What'} was sent to ${channel.name}`}
          onClick={open.toggle}
        >
          {isOpen ? 'Hide what was sent' : 'What was sent'}
        </Button>
      </Group>
      {test.isError && <ProblemNote thrown={test.error} />}
      {test.data && <Sent test={test.data} />}
      {isOpen && <Deliveries name={channel.name} />}
      {isRemoving && <Remove channel={channel} onClose={remove.close} onDone={again} />}
      {isEditing && <EditChannel channel={channel} onClose={edit.close} />}
      {isChoosing && (
        <Choose
          channel={channel}
          onClose={choose.close}
          onChosen={(events) => change.mutate({ events })}
        />
      )}
    </Panel>
  );
}

function Standing({ channel }: { channel: ChannelInfo }) {
  if (!channel.enabled) {
    return (
      <Text size="sm" className={`${classes.state} ${classes.calm}`}>
        <IconCircleDashed size={16} aria-hidden /> Turned off
      </Text>
    );
  }
  if (channel.last_error) {
    return (
      <Text size="sm" className={`${classes.state} ${classes.bad}`}>
        <IconAlertTriangle size={16} aria-hidden />
        {many(channel.failed_attempts, 'attempt')} in vain: {channel.last_error}
      </Text>
    );
  }
  if (!channel.delivered_at) {
    return (
      <Text size="sm" className={`${classes.state} ${classes.calm}`}>
        <IconCircleDashed size={16} aria-hidden /> There was nothing to tell yet
      </Text>
    );
  }
  return (
    <Text component="div" size="sm" className={`${classes.state} ${classes.well}`}>
      <IconCircleCheck size={16} aria-hidden />
      <span>
        Delivered <When at={channel.delivered_at} />
      </span>
    </Text>
  );
}

type ChooseProps = {
  channel: ChannelInfo;
  onClose: () => void;
  onChosen: (events: NonNullable<ChannelInfo['events']>) => void;
};

function Choose({ channel, onClose, onChosen }: ChooseProps) {
  const [chosen, setChosen] = useState(channel.events ?? EVERYTHING);
  const isAll = chosen.length === EVERYTHING.length;
  return (
    <Modal opened onClose={onClose} title={`What ${channel.name} is told of`} size="lg">
      <Stack gap="md">
        <Events chosen={chosen} onChange={setChosen} />
        <Button
          disabled={chosen.length === 0}
          onClick={() => {
            // An empty list is everything, also what later versions tell.
            onChosen(isAll ? [] : chosen);
            onClose();
          }}
        >
          Save
        </Button>
      </Stack>
    </Modal>
  );
}

type RemoveProps = { channel: ChannelInfo; onClose: () => void; onDone: () => Promise<void> };

function Remove({ channel, onClose, onDone }: RemoveProps) {
  const path = { name: channel.name };
  const remove = useMutation({
    mutationFn: () => told(api.DELETE('/api/v1/channels/{name}', { params: { path } })),
    onSuccess: async () => {
      await onDone();
      onClose();
    },
  });
  return (
    <Confirm
      title={`Remove ${channel.name}?`}
      verb="Remove"
      isDangerous
      isPending={remove.isPending}
      thrown={remove.error}
      onConfirm={() => remove.mutate()}
      onClose={onClose}
    >
      <Text>Its address and keys are forgotten, and what was not delivered yet is not sent.</Text>
    </Confirm>
  );
}
