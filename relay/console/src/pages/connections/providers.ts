/** What is different where a database is hosted: as docs/postgresql.md has it, in short. Pure. */

export type Provider = { value: string; label: string; steps: string[] };

export const PROVIDERS: Provider[] = [
  {
    value: 'own',
    label: 'A server of our own',
    steps: [
      'Set wal_level = logical and restart it.',
      'Let the role in from this relay’s address in pg_hba.conf, with scram-sha-256 and hostssl.',
      'Open the port in the firewall for that address, and for no other.',
    ],
  },
  {
    value: 'rds',
    label: 'Amazon RDS or Aurora',
    steps: [
      'In a parameter group of your own set rds.logical_replication = 1 and reboot.',
      'As the master user: grant rds_replication to the role.',
      'In the instance’s security group add an inbound rule for the port from this relay’s address.',
      'Set Public access to Yes, or use an agent within the VPC, which needs no rule at all.',
    ],
  },
  {
    value: 'cloud-sql',
    label: 'Google Cloud SQL',
    steps: [
      'Set the flag cloudsql.logical_decoding to on; the instance restarts.',
      'As postgres: alter role … with replication.',
      'Under Connections, Networking add this relay’s address to the authorized networks.',
      'Its certificate names the instance and not its address: check the certificate only.',
    ],
  },
  {
    value: 'supabase',
    label: 'Supabase',
    steps: [
      'Use the direct connection (db.….supabase.co, port 5432), not the pooler.',
      'It has an IPv6 address only, unless the IPv4 add-on is booked.',
      'Under Database, Network restrictions allow this relay’s address.',
    ],
  },
  {
    value: 'neon',
    label: 'Neon',
    steps: [
      'Switch logical replication on in the project’s settings.',
      'Use the host without -pooler.',
      'Under IP Allow add this relay’s address, where the plan has it.',
    ],
  },
];
