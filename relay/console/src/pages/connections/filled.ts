/** What is filled in for a new connection, and what the relay is asked for with it. Pure. */
import type { AppKind, NewConnection } from '../../api/schema';

export type Way = 'agent' | 'direct' | 'app';

export const WAYS: { value: Way; label: string }[] = [
  { value: 'agent', label: 'PostgreSQL by agent' },
  { value: 'direct', label: 'PostgreSQL directly' },
  { value: 'app', label: 'App' },
];

/** As libpq names them, the safest first. */
export const TLS_MODES: { value: string; label: string }[] = [
  { value: 'verify-full', label: 'Check certificate and name (verify-full)' },
  { value: 'verify-ca', label: 'Check certificate (verify-ca)' },
  { value: 'require', label: 'Encrypt, check nothing (require)' },
  { value: 'disable', label: 'None (disable)' },
];

export type Filled = {
  way: Way;
  name: string;
  agent: string | null;
  target: string | null;
  host: string;
  port: string;
  user: string;
  password: string;
  database: string;
  tls: string;
  kind: string | null;
  baseUrl: string;
  token: string;
  isPrivate: boolean;
};

export const EMPTY: Filled = {
  way: 'agent',
  name: '',
  agent: null,
  target: null,
  host: '',
  port: '5432',
  user: '',
  password: '',
  database: '',
  tls: 'verify-full',
  kind: null,
  baseUrl: '',
  token: '',
  isPrivate: false,
};

export function isWhole(filled: Filled, kinds: AppKind[] = []): boolean {
  if (filled.name.trim() === '') return false;
  switch (filled.way) {
    case 'agent':
      return filled.agent !== null && filled.target !== null;
    case 'direct':
      return filled.host.trim() !== '' && filled.user !== '' && filled.database !== '';
    case 'app': {
      const kind = kinds.find((one) => one.kind === filled.kind);
      const isPlaced = kind?.base_url != null || filled.baseUrl.trim() !== '';
      return filled.kind !== null && filled.token !== '' && isPlaced;
    }
  }
}

export function bodyOf(filled: Filled): NewConnection {
  const name = filled.name.trim();
  switch (filled.way) {
    case 'agent':
      return { name, kind: 'postgres', agent: filled.agent, target: filled.target };
    case 'direct':
      return { name, kind: 'postgres', url: urlOf(filled) };
    case 'app': {
      const address = filled.baseUrl.trim();
      return {
        name,
        kind: filled.kind ?? '',
        token: filled.token.trim(),
        ...(address ? { base_url: address } : {}),
        ...(filled.isPrivate ? { allow_private: true } : {}),
      };
    }
  }
}

function urlOf({ host, port, user, password, database, tls }: Filled): string {
  const who = `${encodeURIComponent(user)}:${encodeURIComponent(password)}`;
  const address = host.trim();
  // An IPv6 address has colons of its own.
  const place = address.includes(':') && !address.startsWith('[') ? `[${address}]` : address;
  const base = encodeURIComponent(database);
  return `postgres://${who}@${place}:${port.trim() || '5432'}/${base}?sslmode=${tls}`;
}

const PARTS =
  /^postgres(?:ql)?:\/\/([^:@/]*)(?::([^@/]*))?@(\[[^\]]+\]|[^:/?]+)(?::(\d+))?\/([^?]*)(?:\?(.*))?$/;

/** What a pasted connection string says; undefined: it is none. */
export function ofUrl(text: string): Partial<Filled> | undefined {
  const parts = PARTS.exec(text.trim());
  if (!parts) return undefined;
  const [, user = '', password = '', host = '', port = '5432', database = '', query = ''] = parts;
  const tls = new URLSearchParams(query).get('sslmode');
  return {
    user: decodeURIComponent(user),
    password: decodeURIComponent(password),
    host: host.replace(/^\[(.*)\]$/, '$1'),
    port,
    database: decodeURIComponent(database),
    ...(tls ? { tls } : {}),
  };
}
