/** A throwaway PostgreSQL with two databases, passwords by SCRAM, logical decoding on. */
import { execFileSync } from 'node:child_process';
import { appendFileSync, chownSync, mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { freePort } from './relay';

export const ROLE = 'tidegate';
export const PASSWORD = 'only-for-tests';

export type Postgres = {
  port: number;
  /** Runs SQL in a database, and gives its rows as lines. */
  sql: (database: string, text: string) => string;
  stop: () => void;
};

/** PostgreSQL refuses to run as root. */
const isRoot = process.getuid?.() === 0;

export async function startPostgres(folder: string): Promise<Postgres> {
  const bin = execFileSync(resolve(import.meta.dirname, '../../../packaging/find-postgres.sh'))
    .toString()
    .trim();
  const port = await freePort();
  const home = join(folder, 'postgres');
  const data = join(home, 'data');
  mkdirSync(home);
  const passwords = join(home, 'password');
  writeFileSync(passwords, PASSWORD, { mode: 0o600 });
  if (isRoot) {
    const [user, group] = ['-u', '-g'].map((flag) =>
      Number(execFileSync('id', [flag, 'postgres']).toString()),
    ) as [number, number];
    [home, passwords].forEach((path) => chownSync(path, user, group));
    execFileSync('chmod', ['755', folder]);
  }
  run(bin, 'initdb', ['-D', data, '-U', ROLE, '-A', 'scram-sha-256', '--pwfile', passwords], true);
  appendFileSync(
    join(data, 'postgresql.conf'),
    `port = ${port}
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
wal_level = logical
fsync = off
`,
  );
  run(bin, 'pg_ctl', ['-D', data, '-l', join(home, 'log'), '-w', '-s', 'start'], true);
  const sql = (database: string, text: string) =>
    run(
      bin,
      'psql',
      ['-h', '127.0.0.1', '-p', `${port}`, '-U', ROLE, '-d', database, '-qAtX', '-c', text],
      false,
    );
  for (const database of ['office', 'site']) sql('postgres', `create database ${database}`);
  const stop = () => void run(bin, 'pg_ctl', ['-D', data, '-m', 'immediate', '-s', 'stop'], true);
  return { port, sql, stop };
}

function run(bin: string, program: string, words: string[], asServer: boolean): string {
  const command = [join(bin, program), ...words];
  if (asServer && isRoot) command.unshift('runuser', '-u', 'postgres', '--');
  const [name = '', ...rest] = command;
  const env = { ...process.env, PGPASSWORD: PASSWORD };
  return execFileSync(name, rest, { env, cwd: '/', stdio: ['ignore', 'pipe', 'pipe'] })
    .toString()
    .trim();
}
