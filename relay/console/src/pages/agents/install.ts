/** How an agent comes onto its host: what is pasted there. Pure. */

export type Way = 'package' | 'docker' | 'binary';

export const WAYS: { value: Way; label: string }[] = [
  { value: 'package', label: 'Package' },
  { value: 'docker', label: 'Docker' },
  { value: 'binary', label: 'Binary' },
];

/** What agent.toml says of the database; its password stays in a file beside it. */
export const AGENT_TOML = `[[target]]
name = "main"
address = "127.0.0.1:5432"
database = "your_database"
user = "tidegate"
password_file = "main.password"`;

/** The commands of one way. The token is a secret: it comes by a file, never as an argument. */
export function commands(way: Way, token: string): string {
  const save = `(umask 077; cat > token) <<'TOKEN'\n${token}\nTOKEN`;
  return [save, ...STEPS[way]].join('\n');
}

const STEPS: Record<Way, string[]> = {
  package: [
    'runuser -u tidegate-agent -- tidegate-agent pair - < token && rm token',
    'systemctl enable --now tidegate-agent',
  ],
  docker: [
    'docker run --rm -i -v tidegate-agent:/var/lib/tidegate-agent \\',
    '  -v ./agent.toml:/etc/tidegate-agent/agent.toml:ro tidegate-agent pair - < token && rm token',
    'docker run -d --restart unless-stopped --network host \\',
    '  -v tidegate-agent:/var/lib/tidegate-agent \\',
    '  -v ./agent.toml:/etc/tidegate-agent/agent.toml:ro \\',
    '  -v ./main.password:/etc/tidegate-agent/main.password:ro tidegate-agent',
  ],
  binary: [
    './tidegate-agent --config agent.toml pair token && rm token',
    './tidegate-agent --config agent.toml run',
  ],
};
