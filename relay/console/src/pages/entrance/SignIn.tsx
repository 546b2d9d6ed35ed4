/** Signing in with a name and a password, or with the provider that the relay knows. */
import { Alert, Button, Divider, PasswordInput, Stack, Text, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState, type FormEvent } from 'react';
import { Navigate, useLocation, useSearchParams } from 'react-router';
import { api, told } from '../../api/client';
import { entrance, me } from '../../api/queries';
import { ProblemNote } from '../../parts/ProblemNote';
import { Door } from './Door';
import { refusalWords } from './refusals';

/** Where one wanted to go; never another site, since a history entry holds it. */
function destination(state: unknown): string {
  const from = (state as { from?: unknown } | null)?.from;
  return typeof from === 'string' && /^\/(?!\/)/.test(from) ? from : '/';
}

export default function SignIn() {
  const queries = useQueryClient();
  const { state } = useLocation();
  const who = useQuery(me);
  const door = useQuery(entrance);
  const [name, setName] = useState('');
  const [password, setPassword] = useState('');
  const signIn = useMutation({
    mutationFn: () => told(api.POST('/api/v1/session', { body: { name, password } })),
    onSuccess: (known) => {
      // What somebody else saw in this tab is not the new one's.
      queries.clear();
      queries.setQueryData(me.queryKey, known);
    },
  });
  const [search] = useSearchParams();
  const refused = refusalWords(search.get('refused'));
  const elsewhere = useMutation({
    mutationFn: () => told(api.POST('/api/v1/session/oidc', { body: { to: destination(state) } })),
    onSuccess: ({ location }) => window.location.assign(location),
  });
  const onSubmit = (event: FormEvent) => {
    event.preventDefault();
    signIn.mutate();
  };
  if (who.data) return <Navigate to={destination(state)} replace />;
  return (
    <Door title="Sign in">
      {door.data?.needs_setup && (
        <Alert color="blue" title="Nobody can sign in yet">
          Open the link that <code>tidegate-relay serve</code> printed when it started: it makes the
          first administrator.
        </Alert>
      )}
      {door.isError && <ProblemNote thrown={door.error} onRetry={() => void door.refetch()} />}
      {refused && (
        <Alert color="red" role="alert" title="You are not signed in">
          {refused}
        </Alert>
      )}
      {door.data?.provider && (
        <>
          {elsewhere.isError && (
            <ProblemNote thrown={elsewhere.error} title="You are not signed in" />
          )}
          <Button
            variant="default"
            fullWidth
            loading={elsewhere.isPending || elsewhere.isSuccess}
            onClick={() => elsewhere.mutate()}
          >
            Sign in with {door.data.provider}
          </Button>
          <Divider label="or with a password" />
        </>
      )}
      <form onSubmit={onSubmit}>
        <Stack gap="md">
          <TextInput
            label="Name or e-mail address"
            autoComplete="username"
            autoCapitalize="none"
            required
            value={name}
            onChange={(event) => setName(event.currentTarget.value)}
          />
          <PasswordInput
            label="Password"
            autoComplete="current-password"
            required
            value={password}
            onChange={(event) => setPassword(event.currentTarget.value)}
          />
          {signIn.isError && <ProblemNote thrown={signIn.error} title="You are not signed in" />}
          <Button type="submit" loading={signIn.isPending} fullWidth>
            Sign in
          </Button>
        </Stack>
      </form>
      {door.data && (
        <Text size="xs" c="dimmed" ta="center">
          Tidegate {door.data.version}
        </Text>
      )}
    </Door>
  );
}
