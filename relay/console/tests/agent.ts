/** An agent of one's own beside a PostgreSQL: paired by a token, then running until it is stopped. */
import { spawn, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PASSWORD, ROLE, type Postgres } from './postgres';
import { binary, stopProcess } from './relay';

export type Agent = {
  /** Of its key, as it printed it. */
  fingerprint: string;
  stop: () => Promise<void>;
};

export function startAgent(folder: string, postgres: Postgres, token: string): Agent {
  const [config, password] = [join(folder, 'agent.toml'), join(folder, 'main.password')];
  writeFileSync(password, PASSWORD, { mode: 0o600 });
  writeFileSync(
    config,
    `state_dir = "${folder}/agent"
[[target]]
name = "main"
address = "127.0.0.1:${postgres.port}"
database = "office"
user = "${ROLE}"
password_file = "${password}"
sslmode = "disable"
allow_ddl = true
`,
  );
  const agent = binary('tidegate-agent');
  const paired = spawnSync(agent, ['--config', config, 'pair', '--json', '-'], { input: token });
  if (paired.status !== 0) throw new Error(`pairing failed: ${paired.stderr.toString()}`);
  const child = spawn(agent, ['--config', config, 'run'], { stdio: 'ignore' });
  const { key_fingerprint: fingerprint } = JSON.parse(paired.stdout.toString()) as {
    key_fingerprint: string;
  };
  return { fingerprint, stop: () => stopProcess(child) };
}
