/** What is filled in for a channel, and what the relay is asked for with it. Pure. */
import type {
  ChannelChange,
  ChannelEvent,
  ChannelInfo,
  MailSecurity,
  NewChannel,
} from '../../api/schema';
import { EVERYTHING } from './about';

export type Way = 'slack' | 'email' | 'webhook';

export const WAYS: { value: Way; label: string }[] = [
  { value: 'slack', label: 'Slack' },
  { value: 'email', label: 'E-mail' },
  { value: 'webhook', label: 'Webhook' },
];

export const SECURITIES: { value: MailSecurity; label: string; port: number }[] = [
  { value: 'tls', label: 'TLS from the first byte (port 465)', port: 465 },
  { value: 'starttls', label: 'STARTTLS (port 587)', port: 587 },
  { value: 'none', label: 'None: in a network of ours only', port: 25 },
];

export type Filled = {
  way: Way;
  name: string;
  url: string;
  host: string;
  /** Empty: the usual one. */
  port: string;
  security: MailSecurity;
  user: string;
  password: string;
  from: string;
  to: string;
  events: ChannelEvent[];
  isPrivate: boolean;
};

export const EMPTY: Filled = {
  way: 'slack',
  name: '',
  url: '',
  host: '',
  port: '',
  security: 'tls',
  user: '',
  password: '',
  from: '',
  to: '',
  events: EVERYTHING,
  isPrivate: false,
};

/** Addresses with commas, semicolons, blanks or lines between. */
export function addresses(text: string): string[] {
  return text.split(/[\s,;]+/).filter((one) => one !== '');
}

export function isWhole(filled: Filled): boolean {
  if (filled.name.trim() === '' || filled.events.length === 0) return false;
  if (filled.way !== 'email') return filled.url.trim() !== '';
  const isSignIn = (filled.user === '') === (filled.password === '');
  const isPort = filled.port === '' || /^\d+$/.test(filled.port);
  const hasPeople = filled.from.trim() !== '' && addresses(filled.to).length > 0;
  return filled.host.trim() !== '' && isSignIn && isPort && hasPeople;
}

export function bodyOf(filled: Filled): NewChannel {
  const isAll = EVERYTHING.every((event) => filled.events.includes(event));
  return {
    name: filled.name.trim(),
    ...(isAll ? {} : { events: filled.events }),
    ...(filled.isPrivate ? { allow_private: true } : {}),
    ...targetOf(filled),
  };
}

/** What changes of a channel; an address that is left empty stays. */
export function changeOf(
  filled: Filled,
  channel: Pick<ChannelInfo, 'allow_private'>,
  newSecret: boolean,
): ChannelChange {
  const keeps = filled.way !== 'email' && filled.url.trim() === '';
  return {
    ...(keeps ? {} : targetOf(filled)),
    ...(filled.isPrivate === channel.allow_private ? {} : { allow_private: filled.isPrivate }),
    ...(newSecret ? { new_secret: true } : {}),
  };
}

/** Whether there is something to save, and all of it. A password may be left empty: the present one. */
export function isChange(filled: Filled, change: ChannelChange): boolean {
  if (filled.way === 'email') {
    return isWhole({ ...filled, password: filled.user === '' ? filled.password : 'kept' });
  }
  return Object.keys(change).length > 0;
}

function targetOf(filled: Filled): Pick<NewChannel, 'email' | 'slack' | 'webhook'> {
  const url = filled.url.trim();
  switch (filled.way) {
    case 'slack':
      return { slack: { url } };
    case 'webhook':
      return { webhook: { url } };
    case 'email':
      return {
        email: {
          host: filled.host.trim(),
          ...(filled.port ? { port: Number(filled.port) } : {}),
          security: filled.security,
          ...(filled.user ? { user: filled.user } : {}),
          ...(filled.password ? { password: filled.password } : {}),
          from: filled.from.trim(),
          to: addresses(filled.to),
        },
      };
  }
}
