/** Syncs that were begun and not started, to go on with or to throw away. */
import { Anchor, Button, Group, Text } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { Link } from 'react-router';
import { api, told } from '../../api/client';
import { drafts as draftsQuery } from '../../api/queries';
import { Section } from '../../parts/Page';
import { Panel } from '../../parts/Panel';
import { Portions } from '../../parts/Portions';
import { When } from '../../parts/When';
import classes from './Overview.module.css';

export function Drafts() {
  const queries = useQueryClient();
  const drafts = useQuery(draftsQuery);
  const remove = useMutation({
    mutationFn: (id: number) =>
      told(api.DELETE('/api/v1/drafts/{id}', { params: { path: { id } } })),
    onSettled: () => queries.invalidateQueries({ queryKey: draftsQuery.queryKey }),
  });
  if (!drafts.data || drafts.data.length === 0) return null;
  return (
    <Section title="Begun">
      <div className={classes.rows}>
        <Portions list={drafts.data}>
          {(shown) =>
            shown.map((draft) => (
              <Panel key={draft.id}>
                <Group justify="space-between">
                  <div>
                    <Anchor component={Link} to={`/syncs/new/${draft.id}`} fw={600}>
                      {draft.name}
                    </Anchor>
                    <Text size="sm" c="dimmed">
                      {draft.author}, <When at={draft.changed_at} />
                    </Text>
                  </div>
                  <Button
                    size="compact-sm"
                    variant="subtle"
                    className="danger"
                    aria-label={`Throw ${draft.name} away`}
                    onClick={() => remove.mutate(draft.id)}
                  >
                    Throw away
                  </Button>
                </Group>
              </Panel>
            ))
          }
        </Portions>
      </div>
    </Section>
  );
}
