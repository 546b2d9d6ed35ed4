/** A new channel: Slack, e-mail or a webhook; then its secret, once, and a test. */
import { Button, Checkbox, Modal, Stack, Text, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState, type FormEvent } from 'react';
import { api, told } from '../../api/client';
import { egress } from '../../api/queries';
import { useOnce } from '../../api/once';
import type { ChannelMade } from '../../api/schema';
import { Choice } from '../../parts/Choice';
import { Copyable } from '../../parts/Copyable';
import { ProblemNote } from '../../parts/ProblemNote';
import { channels as channelsQuery } from './about';
import { Events } from './Events';
import { EMPTY, WAYS, bodyOf, isWhole, type Filled, type Way } from './filled';
import { Sent } from './Sent';
import { Target } from './Target';

export function AddChannel({ onClose }: { onClose: () => void }) {
  const queries = useQueryClient();
  const mayPrivate = useQuery(egress).data?.allow_private ?? false;
  const [filled, setFilled] = useState<Filled>(EMPTY);
  const fill = (change: Partial<Filled>) => setFilled((known) => ({ ...known, ...change }));
  const once = useOnce();
  const add = useMutation({
    mutationFn: () => {
      const body = bodyOf(filled);
      return once.make(body, (header) =>
        told(api.POST('/api/v1/channels', { body, params: { header } })),
      );
    },
    onSuccess: () => queries.invalidateQueries({ queryKey: channelsQuery.queryKey }),
  });
  const onSubmit = (event: FormEvent) => {
    event.preventDefault();
    add.mutate();
  };
  return (
    <Modal opened onClose={onClose} title="Add a channel" size="lg">
      {add.data ? (
        <Added made={add.data} onClose={onClose} />
      ) : (
        <form onSubmit={onSubmit}>
          <Stack gap="md">
            <Choice
              label="What it is"
              data={WAYS}
              value={filled.way}
              onChange={(way) => fill({ way: way as Way })}
            />
            <TextInput
              label="Name"
              description="What you call it here: letters, digits, - and _."
              autoCapitalize="none"
              required
              data-autofocus
              value={filled.name}
              onChange={(event) => fill({ name: event.currentTarget.value })}
            />
            <Target filled={filled} fill={fill} />
            <Events chosen={filled.events} onChange={(events) => fill({ events })} />
            {mayPrivate && (
              <Checkbox
                label="It is in a network of ours: private addresses and no TLS are fine"
                checked={filled.isPrivate}
                onChange={(event) => fill({ isPrivate: event.currentTarget.checked })}
              />
            )}
            {add.isError && <ProblemNote thrown={add.error} />}
            <Button type="submit" loading={add.isPending} disabled={!isWhole(filled)}>
              Add
            </Button>
          </Stack>
        </form>
      )}
    </Modal>
  );
}

/** What is told once, and a test. */
export function Added({ made, onClose }: { made: ChannelMade; onClose: () => void }) {
  const path = { name: made.channel.name };
  const test = useMutation({
    mutationFn: () => told(api.POST('/api/v1/channels/{name}/test', { params: { path } })),
  });
  return (
    <Stack gap="md">
      {made.secret && (
        <>
          <Text>
            Copy the secret now: it is not shown again. Whoever receives verifies by it, as Standard
            Webhooks says.
          </Text>
          <Copyable text={made.secret} label="The secret" />
        </>
      )}
      {!made.secret && <Text>{made.channel.name} is saved. See whether a test arrives.</Text>}
      {test.isError && <ProblemNote thrown={test.error} />}
      {test.data && <Sent test={test.data} />}
      <Button variant="default" loading={test.isPending} onClick={() => test.mutate()}>
        Send a test
      </Button>
      <Button onClick={onClose}>Done</Button>
    </Stack>
  );
}
