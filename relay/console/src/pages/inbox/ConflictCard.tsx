/** One conflict: what was agreed on, and what each side has now, side by side, to pick. */
import { Anchor, Button, Group, Text } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { Link } from 'react-router';
import { api, told } from '../../api/client';
import type { ConflictReport, PickedSide } from '../../api/schema';
import { ProblemNote } from '../../parts/ProblemNote';
import { When } from '../../parts/When';
import { useMay } from '../entrance/Gate';
import { lookAgain } from './about';
import { difference } from './groups';
import classes from './Inbox.module.css';

type Props = { conflict: ConflictReport; sides: [string, string] };

export function ConflictCard({ conflict, sides: [left, right] }: Props) {
  const queries = useQueryClient();
  const mayPick = useMay('editor');
  const path = { name: conflict.sync ?? '', id: conflict.id };
  const pick = useMutation({
    mutationFn: (side: PickedSide) =>
      told(
        api.POST('/api/v1/syncs/{name}/conflicts/{id}/pick', { params: { path }, body: { side } }),
      ),
    onSettled: () => lookAgain(queries),
  });
  const field = conflict.left_field ?? conflict.right_field;
  const base = conflict.base_known ? (conflict.base ?? null) : undefined;
  const key = conflict.left_key ?? conflict.right_key ?? '';
  const history = `/syncs/${encodeURIComponent(path.name)}?key=${encodeURIComponent(key)}`;
  return (
    <article className={classes.card} aria-label={`${key} in ${conflict.table}`}>
      <Group justify="space-between" gap="xs">
        <Anchor component={Link} to={history} fw={600} size="sm">
          {key}
        </Anchor>
        <Text size="xs" c="dimmed">
          <When at={conflict.at} />
        </Text>
      </Group>
      <div className={classes.values}>
        {field && (
          <div>
            <Text size="xs" c="dimmed">
              Before
            </Text>
            <div className={`${classes.value} ${classes.base}`}>
              {base === undefined ? <i>not kept</i> : (base ?? <i>empty</i>)}
            </div>
          </div>
        )}
        {(
          [
            ['left', left, conflict.left],
            ['right', right, conflict.right],
          ] as const
        ).map(([side, name, value]) => (
          <div key={side}>
            <Text size="xs" c="dimmed">
              {name}
            </Text>
            <div className={classes.value}>
              <Shown value={value} base={base} isField={field != null} />
            </div>
            {mayPick && (
              <Button
                mt={6}
                size="compact-sm"
                variant="default"
                disabled={pick.isPending}
                loading={pick.isPending && pick.variables === side}
                onClick={() => pick.mutate(side)}
              >
                Keep what {name} has
              </Button>
            )}
          </div>
        ))}
      </div>
      {pick.isError && <ProblemNote thrown={pick.error} title="It was not picked" />}
    </article>
  );
}

type ShownProps = {
  value: string | null | undefined;
  /** Undefined: not known. */
  base: string | null | undefined;
  isField: boolean;
};

/** A value; what is different from before is marked. */
function Shown({ value, base, isField }: ShownProps) {
  if (value == null) return <i>{isField ? 'empty' : 'deleted'}</i>;
  if (base == null) return <>{value}</>;
  const [before, changed, after] = difference(base, value);
  return (
    <>
      {before}
      {changed && <mark className={classes.changed}>{changed}</mark>}
      {after}
    </>
  );
}
