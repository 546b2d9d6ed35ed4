/** Many conflicts of one kind decided at once and, if a person likes, from now on. */
import { Button, Checkbox, Group, Modal, Stack, Text } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { api, told } from '../../api/client';
import { refusalOf } from '../../api/problem';
import type { PickedMany } from '../../api/schema';
import { ProblemNote, sentence } from '../../parts/ProblemNote';
import { many } from '../../parts/words';
import { lookAgain } from './about';
import type { Group as Kind } from './groups';

type Props = {
  kind: Kind;
  side: 'left' | 'right';
  /** What came later is not meant. */
  upto: number;
  /** Of the side’s connection. */
  name: string;
  onClose: () => void;
};

export function PickAll({ kind, side, upto, name, onClose }: Props) {
  const queries = useQueryClient();
  const [isRule, setRule] = useState(false);
  const pick = useMutation({
    mutationFn: async () => {
      const done = await pickAll(kind, side, upto);
      if (isRule) await decideAlways(kind, side);
      return done;
    },
    // The list that this dialog belongs to may be gone by then: so it is told beside the page.
    onSuccess: (done) => {
      tell(done);
      onClose();
    },
    onError: (thrown) => {
      const message = refusalOf(thrown).message;
      notifications.show({ color: 'red', title: 'Not all were picked', message, autoClose: false });
    },
    onSettled: () => lookAgain(queries),
  });
  const about = kind.field === null ? 'deletions' : `${kind.table}.${kind.field}`;
  return (
    <Modal opened onClose={onClose} title={`Keep ${name} in all of these?`}>
      <Stack gap="md">
        <Text>
          All conflicts about {about} of {kind.sync} that wait are given what {name} has, also those
          that are not on this page. What came since you looked is left alone.
        </Text>
        {kind.field !== null && (
          <Checkbox
            label={`From now on decide conflicts in ${kind.table} like this, without asking`}
            checked={isRule}
            onChange={(event) => setRule(event.currentTarget.checked)}
          />
        )}
        {pick.isError && <ProblemNote thrown={pick.error} />}
        <Group justify="flex-end">
          <Button variant="default" onClick={onClose}>
            Cancel
          </Button>
          <Button loading={pick.isPending} onClick={() => pick.mutate()}>
            Keep {name}
          </Button>
        </Group>
      </Stack>
    </Modal>
  );
}

function tell({ picked, refused }: PickedMany): void {
  const reasons = [...new Set(refused.map((one) => sentence(one.reason)))].join(' ');
  notifications.show({
    color: refused.length > 0 ? 'yellow' : 'green',
    title: `${many(picked, 'conflict')} picked`,
    message: refused.length > 0 ? `${many(refused.length, 'other')} could not be. ${reasons}` : '',
    autoClose: refused.length > 0 ? false : 6_000,
  });
}

async function pickAll(kind: Kind, side: string, upto: number): Promise<PickedMany> {
  const params = { path: { name: kind.sync } };
  const body = {
    side,
    upto,
    table: kind.table,
    ...(kind.field === null ? {} : { field: kind.field }),
  };
  const all: PickedMany = { picked: 0, refused: [], more: true };
  while (all.more) {
    const done = await told(api.POST('/api/v1/syncs/{name}/conflicts/pick', { params, body }));
    all.picked += done.picked;
    // Those are met again with each part.
    all.refused = done.refused;
    all.more = done.more;
  }
  return all;
}

/** The sync’s own policy, changed as its file would be: exactly as it was planned. */
async function decideAlways(kind: Kind, side: string): Promise<void> {
  const params = { path: { name: kind.sync } };
  const definition = await told(api.GET('/api/v1/syncs/{name}/definition', { params }));
  const table = (definition.table ?? []).map((one) =>
    one.left === kind.table ? { ...one, conflict: side } : one,
  );
  const changed = { ...definition, table };
  const expected = await told(api.POST('/api/v1/syncs/plan', { body: changed }));
  await told(api.POST('/api/v1/syncs/apply', { body: { definition: changed, expected } }));
}
