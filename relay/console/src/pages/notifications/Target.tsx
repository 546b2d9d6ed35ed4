/** Where a channel leads: an address, or a mail server. */
import { PasswordInput, Select, TextInput, Textarea } from '@mantine/core';
import type { MailSecurity } from '../../api/schema';
import { SECURITIES, type Filled } from './filled';
import classes from './Notifications.module.css';

type Props = {
  filled: Filled;
  fill: (change: Partial<Filled>) => void;
  /** There is an address already, which stays if none is given. */
  keeps?: boolean;
};

export function Target({ filled, fill, keeps = false }: Props) {
  return filled.way === 'email' ? (
    <Mail filled={filled} fill={fill} />
  ) : (
    <Address filled={filled} fill={fill} keeps={keeps} />
  );
}

function Address({ filled, fill, keeps = false }: Props) {
  const isSlack = filled.way === 'slack';
  return (
    <PasswordInput
      label={isSlack ? 'Incoming webhook' : 'URL'}
      description={
        isSlack
          ? 'Its URL, of Slack or of an app that takes the same. Kept encrypted; never shown again.'
          : 'It gets signed posts. Kept encrypted; never shown again.'
      }
      placeholder={isSlack ? 'https://hooks.slack.com/services/…' : 'https://'}
      autoComplete="off"
      required={!keeps}
      value={filled.url}
      onChange={(event) => fill({ url: event.currentTarget.value })}
    />
  );
}

function Mail({ filled, fill }: Props) {
  const usual = SECURITIES.find((one) => one.value === filled.security)?.port ?? 465;
  return (
    <>
      <div className={classes.fields}>
        <TextInput
          className={classes.host ?? ''}
          label="Mail server"
          placeholder="mail.example.com"
          autoCapitalize="none"
          required
          value={filled.host}
          onChange={(event) => fill({ host: event.currentTarget.value })}
        />
        <TextInput
          className={classes.port ?? ''}
          label="Port"
          placeholder={`${usual}`}
          inputMode="numeric"
          value={filled.port}
          onChange={(event) => fill({ port: event.currentTarget.value.trim() })}
        />
      </div>
      <Select
        label="Encryption"
        data={SECURITIES}
        value={filled.security}
        allowDeselect={false}
        onChange={(value) => value && fill({ security: value as MailSecurity })}
      />
      <div className={classes.fields}>
        <TextInput
          className={classes.host ?? ''}
          label="User"
          description="Left empty where the server asks for none."
          autoCapitalize="none"
          autoComplete="off"
          value={filled.user}
          onChange={(event) => fill({ user: event.currentTarget.value })}
        />
        <PasswordInput
          className={classes.host ?? ''}
          label="Password"
          description="Kept encrypted; never shown again."
          autoComplete="off"
          value={filled.password}
          onChange={(event) => fill({ password: event.currentTarget.value })}
        />
      </div>
      <TextInput
        label="From"
        type="email"
        placeholder="relay@example.com"
        required
        value={filled.from}
        onChange={(event) => fill({ from: event.currentTarget.value })}
      />
      <Textarea
        label="To"
        description="Up to 20 addresses, with commas between."
        autosize
        required
        value={filled.to}
        onChange={(event) => fill({ to: event.currentTarget.value })}
      />
    </>
  );
}
