/** A question before what can't be taken back: what will happen, and a button that says it. */
import { Button, Group, Modal, Stack } from '@mantine/core';
import type { ReactNode } from 'react';
import { ProblemNote } from './ProblemNote';

type Props = {
  title: string;
  children: ReactNode;
  /** What the button does, as a verb. */
  verb: string;
  isDangerous?: boolean;
  isPending: boolean;
  thrown?: unknown;
  onConfirm: () => void;
  onClose: () => void;
};

export function Confirm(props: Props) {
  return (
    <Modal opened onClose={props.onClose} title={props.title}>
      <Stack gap="md">
        {props.children}
        {props.thrown != null && <ProblemNote thrown={props.thrown} />}
        <Group justify="flex-end">
          <Button variant="default" onClick={props.onClose}>
            Cancel
          </Button>
          <Button
            loading={props.isPending}
            onClick={props.onConfirm}
            {...(props.isDangerous ? { color: 'red.9' } : {})}
          >
            {props.verb}
          </Button>
        </Group>
      </Stack>
    </Modal>
  );
}
