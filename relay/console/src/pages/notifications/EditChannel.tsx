/** Where a channel leads from now on, and another secret for a webhook. What it had is never shown. */
import { Button, Checkbox, Modal, Stack, Text } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState, type FormEvent } from 'react';
import { api, told } from '../../api/client';
import { egress } from '../../api/queries';
import type { ChannelInfo } from '../../api/schema';
import { ProblemNote } from '../../parts/ProblemNote';
import { channels as channelsQuery } from './about';
import { Added } from './AddChannel';
import { EMPTY, changeOf, isChange, type Filled, type Way } from './filled';
import { Target } from './Target';

export function EditChannel({ channel, onClose }: { channel: ChannelInfo; onClose: () => void }) {
  const queries = useQueryClient();
  const mayPrivate = useQuery(egress).data?.allow_private ?? false;
  const [filled, setFilled] = useState<Filled>({
    ...EMPTY,
    name: channel.name,
    way: channel.kind as Way,
    to: channel.kind === 'email' ? channel.target : '',
    isPrivate: channel.allow_private,
  });
  const [newSecret, setNewSecret] = useState(false);
  const fill = (change: Partial<Filled>) => setFilled((known) => ({ ...known, ...change }));
  const body = changeOf(filled, channel, newSecret);
  const save = useMutation({
    mutationFn: () => {
      // Refused if somebody else changed it meanwhile.
      const header = { 'if-match': `"${channel.version}"` };
      const params = { path: { name: channel.name }, header };
      return told(api.PATCH('/api/v1/channels/{name}', { params, body }));
    },
    onSuccess: () => queries.invalidateQueries({ queryKey: channelsQuery.queryKey }),
  });
  const onSubmit = (event: FormEvent) => {
    event.preventDefault();
    save.mutate();
  };
  return (
    <Modal opened onClose={onClose} title={`Where ${channel.name} leads`} size="lg">
      {save.data ? (
        <Added made={save.data} onClose={onClose} />
      ) : (
        <form onSubmit={onSubmit} noValidate>
          <Stack gap="md">
            <Text size="sm" c="dimmed">
              {channel.kind === 'email'
                ? 'Fill in all of it. The password is kept if server, port, encryption and user stay the same.'
                : `It leads to ${channel.target} now. Leave the address empty to keep it.`}
            </Text>
            <Target filled={filled} fill={fill} keeps />
            {channel.kind === 'webhook' && (
              <Checkbox
                label="Make another secret"
                description="Whoever verifies by the present one needs the new one at once."
                checked={newSecret}
                onChange={(event) => setNewSecret(event.currentTarget.checked)}
              />
            )}
            {mayPrivate && (
              <Checkbox
                label="It is in a network of ours: private addresses and no TLS are fine"
                checked={filled.isPrivate}
                onChange={(event) => fill({ isPrivate: event.currentTarget.checked })}
              />
            )}
            {save.isError && <ProblemNote thrown={save.error} />}
            <Button type="submit" loading={save.isPending} disabled={!isChange(filled, body)}>
              Save
            </Button>
          </Stack>
        </form>
      )}
    </Modal>
  );
}
