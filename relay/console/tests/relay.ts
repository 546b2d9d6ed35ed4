/** A relay of one's own: started with an empty store, stopped and removed afterwards. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const START_MS_MAX = 20_000;

export type Relay = {
  url: string;
  /** Where agents dial. */
  tunnel: string;
  /** Of the first administrator. Good once. */
  setupLink: string;
  token: string;
  folder: string;
  stop: () => Promise<void>;
};

/** The debug binary that cargo built. */
export function binary(name: string): string {
  const target = process.env['CARGO_TARGET_DIR'] ?? resolve(import.meta.dirname, '../../../target');
  return join(target, 'debug', name);
}

/** `more` adds to the configuration what depends on the relay's address. */
export async function startRelay(more: (url: string) => string = () => ''): Promise<Relay> {
  const folder = mkdtempSync(join(tmpdir(), 'tidegate-console-'));
  const [http, tunnel] = [await freePort(), await freePort()];
  const url = `http://127.0.0.1:${http}`;
  const config = join(folder, 'relay.toml');
  writeFileSync(
    config,
    `data_dir = "${folder}/relay"
[tunnel]
listen = "127.0.0.1:${tunnel}"
names = ["localhost:${tunnel}"]
[http]
listen = "127.0.0.1:${http}"
public_url = "${url}"
[egress]
public = ["203.0.113.7"]
${more(url)}`,
  );
  const child = spawn(binary('tidegate-relay'), ['serve', '--config', config], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const setupLink = await said(child, /Set up the console, once: (\S+)\n/);
  const token = readFileSync(join(folder, 'relay/operator.token'), 'utf8').trim();
  const stop = async () => {
    await stopProcess(child);
    rmSync(folder, { recursive: true, force: true });
  };
  return { url, tunnel: `localhost:${tunnel}`, setupLink, token, folder, stop };
}

/** Waits for a line on either output, and returns the group of the pattern. */
export function said(child: ChildProcess, pattern: RegExp): Promise<string> {
  return new Promise((found, failed) => {
    let text = '';
    const timer = setTimeout(
      () => failed(new Error(`${pattern} was not said:\n${text}`)),
      START_MS_MAX,
    );
    const take = (chunk: Buffer) => {
      text += chunk.toString();
      const match = pattern.exec(text);
      if (!match) return;
      clearTimeout(timer);
      found(match[1] ?? '');
    };
    child.stdout?.on('data', take);
    child.stderr?.on('data', take);
    child.on('error', failed);
    child.on('exit', (code) => failed(new Error(`ended with ${code}:\n${text}`)));
  });
}

export function stopProcess(child: ChildProcess): Promise<void> {
  return new Promise((stopped) => {
    if (child.exitCode !== null) return stopped();
    child.on('exit', () => stopped());
    child.kill('SIGINT');
  });
}

export function freePort(): Promise<number> {
  return new Promise((found, failed) => {
    const server = createServer();
    server.on('error', failed);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => found(typeof address === 'object' && address ? address.port : 0));
    });
  });
}
