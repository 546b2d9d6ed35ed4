/** A database that this relay reaches by itself: its address, and how it lets the relay in. */
import { Alert, Group, List, PasswordInput, Select, Text, TextInput } from '@mantine/core';
import { IconLock } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useState, type ClipboardEvent } from 'react';
import { egress } from '../../api/queries';
import type { PartProps } from './AddConnection';
import { TLS_MODES, ofUrl } from './filled';
import { PROVIDERS } from './providers';
import classes from './Connections.module.css';

export function Directly({ filled, fill }: PartProps) {
  const onPaste = (event: ClipboardEvent) => {
    const parts = ofUrl(event.clipboardData.getData('text'));
    if (!parts) return;
    event.preventDefault();
    fill(parts);
  };
  return (
    <>
      <Group grow align="start" preventGrowOverflow={false} wrap="nowrap">
        <TextInput
          label="Host"
          description="A whole connection string may be pasted here."
          autoCapitalize="none"
          spellCheck={false}
          required
          className={classes.host}
          value={filled.host}
          onPaste={onPaste}
          onChange={(event) => fill({ host: event.currentTarget.value })}
        />
        <TextInput
          label="Port"
          description="&nbsp;"
          inputMode="numeric"
          className={classes.port}
          value={filled.port}
          onChange={(event) => fill({ port: event.currentTarget.value })}
        />
      </Group>
      <TextInput
        label="Database name"
        autoCapitalize="none"
        required
        value={filled.database}
        onChange={(event) => fill({ database: event.currentTarget.value })}
      />
      <Group grow align="start">
        <TextInput
          label="User"
          autoCapitalize="none"
          autoComplete="off"
          required
          value={filled.user}
          onChange={(event) => fill({ user: event.currentTarget.value })}
        />
        <PasswordInput
          label="Password"
          autoComplete="new-password"
          value={filled.password}
          onChange={(event) => fill({ password: event.currentTarget.value })}
        />
      </Group>
      <Select
        label="TLS"
        data={TLS_MODES}
        allowDeselect={false}
        value={filled.tls}
        onChange={(tls) => tls && fill({ tls })}
      />
      <LetIn port={filled.port} />
    </>
  );
}

/** What the database’s side must open, and where, by provider. */
function LetIn({ port }: { port: string }) {
  const addresses = useQuery(egress);
  const [at, setAt] = useState<string | null>(null);
  const list = addresses.data?.public ?? [];
  const provider = PROVIDERS.find((one) => one.value === at);
  return (
    <Alert icon={<IconLock aria-hidden />} color="blue" title="Let this relay in">
      <Text size="sm">
        {list.length > 0
          ? `Connections come from ${list.join(', ')}: allow these, and no others, to port ${port || '5432'}.`
          : 'From which address connections come is not said in relay.toml ([egress] public).'}
      </Text>
      <Select
        mt="xs"
        size="xs"
        label="Where is it hosted?"
        placeholder="Choose for what is special there"
        data={PROVIDERS.map(({ value, label }) => ({ value, label }))}
        value={at}
        onChange={setAt}
        clearable
      />
      {provider && (
        <List size="sm" mt="xs" type="ordered">
          {provider.steps.map((step) => (
            <List.Item key={step}>{step}</List.Item>
          ))}
        </List>
      )}
    </Alert>
  );
}
