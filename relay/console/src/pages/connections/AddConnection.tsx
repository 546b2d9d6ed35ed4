/** A new connection: PostgreSQL through an agent or directly, or an app by its address and token. */
import { Button, Modal, Stack, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useRef, useState, type FormEvent } from 'react';
import { api, told } from '../../api/client';
import { useOnce } from '../../api/once';
import { appKinds, connections as connectionsQuery } from '../../api/queries';
import { Choice } from '../../parts/Choice';
import { ProblemNote } from '../../parts/ProblemNote';
import { AppForm } from './AppForm';
import { ByAgent } from './ByAgent';
import { Directly } from './Directly';
import { EMPTY, WAYS, bodyOf, isWhole, type Filled, type Way } from './filled';
import { Tested } from './Tested';

type Props = { onClose: () => void; onAdded?: (name: string) => void };

export type PartProps = { filled: Filled; fill: (change: Partial<Filled>) => void };

export function AddConnection({ onClose, onAdded }: Props) {
  const queries = useQueryClient();
  const kinds = useQuery(appKinds);
  const [filled, setFilled] = useState<Filled>(EMPTY);
  const fill = (change: Partial<Filled>) => setFilled((known) => ({ ...known, ...change }));
  // What was added and can't be used is made anew when it is corrected.
  const before = useRef<string>(undefined);
  const once = useOnce();
  const add = useMutation({
    mutationFn: async () => {
      if (before.current !== undefined) {
        const path = { name: before.current };
        await told(api.DELETE('/api/v1/connections/{name}', { params: { path } }));
        before.current = undefined;
      }
      const body = bodyOf(filled);
      const added = await once.make(body, (header) =>
        told(api.POST('/api/v1/connections', { body, params: { header } })),
      );
      before.current = added.name;
      const path = { name: added.name };
      return told(api.POST('/api/v1/connections/{name}/test', { params: { path } }));
    },
    onSuccess: (test) => test.ok && onAdded?.(filled.name.trim()),
    onSettled: () => queries.invalidateQueries({ queryKey: connectionsQuery.queryKey }),
  });
  const isDone = add.data?.ok === true;
  const onSubmit = (event: FormEvent) => {
    event.preventDefault();
    add.mutate();
  };
  return (
    <Modal opened onClose={onClose} title="Add a connection" size="lg">
      <form onSubmit={onSubmit}>
        <Stack gap="md">
          <Choice
            label="What it leads to"
            data={WAYS}
            value={filled.way}
            onChange={(way) => fill({ way: way as Way })}
          />
          <TextInput
            label="Name"
            description="What you call it here."
            autoCapitalize="none"
            required
            data-autofocus
            value={filled.name}
            onChange={(event) => fill({ name: event.currentTarget.value })}
          />
          {filled.way === 'agent' && <ByAgent filled={filled} fill={fill} />}
          {filled.way === 'direct' && <Directly filled={filled} fill={fill} />}
          {filled.way === 'app' && <AppForm filled={filled} fill={fill} kinds={kinds.data ?? []} />}
          {add.isError && <ProblemNote thrown={add.error} />}
          {add.data && <Tested test={add.data} />}
          {isDone ? (
            <Button onClick={onClose} data-autofocus>
              Done
            </Button>
          ) : (
            <Button type="submit" loading={add.isPending} disabled={!isWhole(filled, kinds.data)}>
              Add and test
            </Button>
          )}
        </Stack>
      </form>
    </Modal>
  );
}
