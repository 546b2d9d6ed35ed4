/** A new channel: Slack, e-mail or a webhook; then its secret, once, and a test. */
import {
  Button,
  Checkbox,
  Modal,
  PasswordInput,
  Select,
  Stack,
  Text,
  TextInput,
  Textarea,
} from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState, type FormEvent } from 'react';
import { api, told } from '../../api/client';
import type { ChannelMade, MailSecurity } from '../../api/schema';
import { Choice } from '../../parts/Choice';
import { Copyable } from '../../parts/Copyable';
import { ProblemNote } from '../../parts/ProblemNote';
import { useMe } from '../entrance/Gate';
import { channels as channelsQuery } from './about';
import { Events } from './Events';
import { EMPTY, SECURITIES, WAYS, bodyOf, isWhole, type Filled, type Way } from './filled';
import { Sent } from './Sent';
import classes from './Notifications.module.css';

type PartProps = { filled: Filled; fill: (change: Partial<Filled>) => void };

export function AddChannel({ onClose }: { onClose: () => void }) {
  const queries = useQueryClient();
  const isHost = useMe().workspace === 'default';
  const [filled, setFilled] = useState<Filled>(EMPTY);
  const fill = (change: Partial<Filled>) => setFilled((known) => ({ ...known, ...change }));
  const add = useMutation({
    mutationFn: () => told(api.POST('/api/v1/channels', { body: bodyOf(filled) })),
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
            {filled.way === 'email' ? (
              <Mail filled={filled} fill={fill} />
            ) : (
              <Address filled={filled} fill={fill} />
            )}
            <Events chosen={filled.events} onChange={(events) => fill({ events })} />
            {isHost && (
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

function Address({ filled, fill }: PartProps) {
  const isSlack = filled.way === 'slack';
  return (
    <PasswordInput
      label={isSlack ? 'Incoming webhook' : 'URL'}
      description={
        isSlack
          ? 'Its URL, of Slack or of an app that takes the same. Kept encrypted; never shown again.'
          : 'It gets signed posts. Kept encrypted; never shown again.'
      }
      placeholder={isSlack ? 'https://hooks.slack.com/services/…' : 'https://'}
      autoComplete="off"
      required
      value={filled.url}
      onChange={(event) => fill({ url: event.currentTarget.value })}
    />
  );
}

function Mail({ filled, fill }: PartProps) {
  const usual = SECURITIES.find((one) => one.value === filled.security)?.port ?? 465;
  return (
    <>
      <div className={classes.fields}>
        <TextInput
          className={classes.host ?? ''}
          label="Mail server"
          placeholder="mail.example.com"
          autoCapitalize="none"
          required
          value={filled.host}
          onChange={(event) => fill({ host: event.currentTarget.value })}
        />
        <TextInput
          className={classes.port ?? ''}
          label="Port"
          placeholder={`${usual}`}
          inputMode="numeric"
          value={filled.port}
          onChange={(event) => fill({ port: event.currentTarget.value.trim() })}
        />
      </div>
      <Select
        label="Encryption"
        data={SECURITIES}
        value={filled.security}
        allowDeselect={false}
        onChange={(value) => value && fill({ security: value as MailSecurity })}
      />
      <div className={classes.fields}>
        <TextInput
          className={classes.host ?? ''}
          label="User"
          description="Left empty where the server asks for none."
          autoCapitalize="none"
          autoComplete="off"
          value={filled.user}
          onChange={(event) => fill({ user: event.currentTarget.value })}
        />
        <PasswordInput
          className={classes.host ?? ''}
          label="Password"
          description="Kept encrypted; never shown again."
          autoComplete="off"
          value={filled.password}
          onChange={(event) => fill({ password: event.currentTarget.value })}
        />
      </div>
      <TextInput
        label="From"
        type="email"
        placeholder="relay@example.com"
        required
        value={filled.from}
        onChange={(event) => fill({ from: event.currentTarget.value })}
      />
      <Textarea
        label="To"
        description="Up to 20 addresses, with commas between."
        autosize
        required
        value={filled.to}
        onChange={(event) => fill({ to: event.currentTarget.value })}
      />
    </>
  );
}

function Added({ made, onClose }: { made: ChannelMade; onClose: () => void }) {
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
      {!made.secret && <Text>{made.channel.name} is added. See whether a test arrives.</Text>}
      {test.isError && <ProblemNote thrown={test.error} />}
      {test.data && <Sent test={test.data} />}
      <Button variant="default" loading={test.isPending} onClick={() => test.mutate()}>
        Send a test
      </Button>
      <Button onClick={onClose}>Done</Button>
    </Stack>
  );
}
