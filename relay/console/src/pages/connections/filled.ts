/** What is filled in for a new connection, and what the relay is asked for with it. Pure. */
import type { NewConnection } from '../../api/schema';

export type Way = 'agent' | 'direct' | 'app';

export const WAYS: { value: Way; label: string }[] = [
  { value: 'agent', label: 'PostgreSQL by agent' },
  { value: 'direct', label: 'PostgreSQL' },
  { value: 'app', label: 'App' },
];

export type Filled = {
  way: Way;
  name: string;
  agent: string | null;
  target: string | null;
  url: string;
  kind: string;
  baseUrl: string;
  token: string;
};

export const EMPTY: Filled = {
  way: 'agent',
  name: '',
  agent: null,
  target: null,
  url: '',
  kind: '',
  baseUrl: '',
  token: '',
};

export function isWhole(filled: Filled): boolean {
  if (filled.name.trim() === '') return false;
  switch (filled.way) {
    case 'agent':
      return filled.agent !== null && filled.target !== null;
    case 'direct':
      return filled.url !== '';
    case 'app':
      return filled.kind !== '' && filled.token !== '';
  }
}

export function bodyOf(filled: Filled): NewConnection {
  const name = filled.name.trim();
  switch (filled.way) {
    case 'agent':
      return { name, kind: 'postgres', agent: filled.agent, target: filled.target };
    case 'direct':
      return { name, kind: 'postgres', url: filled.url };
    case 'app': {
      const address = filled.baseUrl.trim();
      const token = filled.token.trim();
      return { name, kind: filled.kind.trim(), token, ...(address ? { base_url: address } : {}) };
    }
  }
}
