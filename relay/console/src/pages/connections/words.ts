/** Connections in people's words. Pure. */
import type { ConnectionInfo } from '../../api/schema';

const KINDS: Record<string, string> = {
  postgres: 'PostgreSQL',
  airtable: 'Airtable',
  kinto: 'Kinto',
  nocodb: 'NocoDB',
  notion: 'Notion',
  hubspot: 'HubSpot',
  webflow: 'Webflow',
};

export function kindName(kind: string): string {
  return KINDS[kind] ?? kind;
}

export function leadsTo(connection: ConnectionInfo): string {
  if (connection.agent) return `through agent ${connection.agent}, target ${connection.target}`;
  return connection.address ? `at ${connection.address}` : 'directly';
}
