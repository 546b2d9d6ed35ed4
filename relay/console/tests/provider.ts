/** A real provider of identities: npm's `oidc-provider`, in a process of its own. */
import { spawn } from 'node:child_process';
import { writeFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, said, startRelay, stopProcess, type Relay } from './relay';

const SECRET = 'of the relay at the provider';

export type WithProvider = { relay: Relay; issuer: string; stop: () => Promise<void> };

/** A relay that knows a provider, and the provider. */
export async function startWithProvider(): Promise<WithProvider> {
  const folder = mkdtempSync(join(tmpdir(), 'tidegate-provider-'));
  const secret = join(folder, 'oidc.secret');
  writeFileSync(secret, `${SECRET}\n`);
  const issuer = `http://127.0.0.1:${await freePort()}`;
  const relay = await startRelay(
    () => `
[oidc]
name = "Example"
issuer = "${issuer}"
client_id = "tidegate"
client_secret_file = "${secret}"
scopes = ["openid", "email", "groups"]
[[oidc.admit]]
group = "staff"
role = "editor"
`,
  );
  const script = join(import.meta.dirname, 'provider.mjs');
  const args = [script, relay.url, SECRET, new URL(issuer).port];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  await said(child, /ready (\S+)\n/);
  const stop = async () => {
    await stopProcess(child);
    await relay.stop();
    rmSync(folder, { recursive: true, force: true });
  };
  return { relay, issuer, stop };
}
