/** An app: which one, where it is unless that is known, and what signs in there. */
import { Checkbox, PasswordInput, Select, TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { egress } from '../../api/queries';
import type { AppKind } from '../../api/schema';
import type { PartProps } from './AddConnection';

export function AppForm({ filled, fill, kinds }: PartProps & { kinds: AppKind[] }) {
  const kind = kinds.find((one) => one.kind === filled.kind);
  const mayPrivate = useQuery(egress).data?.allow_private ?? false;
  const isPair = kind?.sign_in === 'user-and-password';
  return (
    <>
      <Select
        label="App"
        placeholder="Choose an app"
        data={kinds.map((one) => ({ value: one.kind, label: one.title }))}
        value={filled.kind}
        onChange={(chosen) => fill({ kind: chosen })}
        required
      />
      <TextInput
        label="Address"
        description={
          kind?.base_url ? `Where its API is. Left empty: ${kind.base_url}` : 'Where its API is.'
        }
        placeholder={kind?.base_url ?? 'https://'}
        autoCapitalize="none"
        spellCheck={false}
        required={kind !== undefined && kind.base_url == null}
        value={filled.baseUrl}
        onChange={(event) => fill({ baseUrl: event.currentTarget.value })}
      />
      <PasswordInput
        label={isPair ? 'User and password' : 'Token'}
        description={
          isPair
            ? 'As user:password. Kept encrypted; it is never shown again.'
            : 'Kept encrypted; it is never shown again.'
        }
        autoComplete="off"
        required
        value={filled.token}
        onChange={(event) => fill({ token: event.currentTarget.value })}
      />
      {mayPrivate && (
        <Checkbox
          label="It is in a network of ours: private addresses and HTTP without TLS are fine"
          checked={filled.isPrivate}
          onChange={(event) => fill({ isPrivate: event.currentTarget.checked })}
        />
      )}
    </>
  );
}
