/** One's own password, replaced by whoever knows it. */
import { Alert, Button, Modal, PasswordInput, Stack } from '@mantine/core';
import { IconCircleCheck } from '@tabler/icons-react';
import { useMutation } from '@tanstack/react-query';
import { useState, type FormEvent } from 'react';
import { api, told } from '../../api/client';
import { useMe } from '../../pages/entrance/Gate';
import { ProblemNote } from '../ProblemNote';

const CHARS_MIN = 12;

export function NewPassword({ onClose }: { onClose: () => void }) {
  const who = useMe();
  const [old, setOld] = useState('');
  const [next, setNext] = useState('');
  const [again, setAgain] = useState('');
  const isOther = again !== '' && again !== next;
  const change = useMutation({
    mutationFn: () => told(api.POST('/api/v1/session/password', { body: { old, new: next } })),
  });
  const onSubmit = (event: FormEvent) => {
    event.preventDefault();
    if (!isOther) change.mutate();
  };
  return (
    <Modal opened onClose={onClose} title="Change your password">
      {change.isSuccess ? (
        <Stack gap="md">
          <Alert
            role="status"
            color="green"
            icon={<IconCircleCheck aria-hidden />}
            title="Your password is changed"
          >
            Wherever else you were signed in, you are signed out.
          </Alert>
          <Button onClick={onClose}>Done</Button>
        </Stack>
      ) : (
        <form onSubmit={onSubmit}>
          <Stack gap="md">
            {/* So that password managers know whose it is. */}
            <input type="text" autoComplete="username" value={who.name} readOnly hidden />
            <PasswordInput
              label="The password until now"
              autoComplete="current-password"
              required
              data-autofocus
              value={old}
              onChange={(event) => setOld(event.currentTarget.value)}
            />
            <PasswordInput
              label="The new password"
              description={`At least ${CHARS_MIN} characters: a sentence will do.`}
              autoComplete="new-password"
              minLength={CHARS_MIN}
              required
              value={next}
              onChange={(event) => setNext(event.currentTarget.value)}
            />
            <PasswordInput
              label="The new password again"
              autoComplete="new-password"
              required
              value={again}
              error={isOther && 'This is another one.'}
              onChange={(event) => setAgain(event.currentTarget.value)}
            />
            {change.isError && <ProblemNote thrown={change.error} title="Nothing was changed" />}
            <Button type="submit" loading={change.isPending}>
              Change it
            </Button>
          </Stack>
        </form>
      )}
    </Modal>
  );
}
