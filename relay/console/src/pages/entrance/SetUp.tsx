/** The first administrator, by the link that `serve` printed: its secret stands behind the `#`. */
import { Alert, Button, PasswordInput, Stack, Text, TextInput } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState, type FormEvent } from 'react';
import { Link, useNavigate } from 'react-router';
import { api, told } from '../../api/client';
import { me } from '../../api/queries';
import { ProblemNote } from '../../parts/ProblemNote';
import { Door } from './Door';

export default function SetUp() {
  const queries = useQueryClient();
  const navigate = useNavigate();
  const [secret] = useState(() => window.location.hash.slice(1));
  const [name, setName] = useState('');
  const [password, setPassword] = useState('');
  const [again, setAgain] = useState('');
  const isDifferent = again !== '' && again !== password;
  const setUp = useMutation({
    mutationFn: () => told(api.POST('/api/v1/setup', { body: { secret, name, password } })),
    onSuccess: (known) => {
      queries.clear();
      queries.setQueryData(me.queryKey, known);
      void navigate('/', { replace: true });
    },
  });
  const onSubmit = (event: FormEvent) => {
    event.preventDefault();
    if (password === again) setUp.mutate();
  };
  if (!secret) {
    return (
      <Door title="Set up this relay">
        <Alert color="yellow" title="This link is not whole">
          Open the whole link that <code>tidegate-relay serve</code> printed, with all that stands
          behind the <code>#</code>.
        </Alert>
        <Button component={Link} to="/sign-in" variant="default">
          Sign in instead
        </Button>
      </Door>
    );
  }
  return (
    <Door title="Set up this relay">
      <Text c="dimmed">You become its first administrator. Others are invited later, by you.</Text>
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
            description="At least 12 characters. A sentence is easy to remember."
            autoComplete="new-password"
            minLength={12}
            required
            value={password}
            onChange={(event) => setPassword(event.currentTarget.value)}
          />
          <PasswordInput
            label="The password again"
            autoComplete="new-password"
            required
            value={again}
            error={isDifferent ? 'This is another one' : undefined}
            onChange={(event) => setAgain(event.currentTarget.value)}
          />
          {setUp.isError && <ProblemNote thrown={setUp.error} title="Nothing was set up" />}
          <Button type="submit" loading={setUp.isPending} disabled={isDifferent} fullWidth>
            Set up and sign in
          </Button>
        </Stack>
      </form>
    </Door>
  );
}
