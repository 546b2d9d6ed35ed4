/** Kinto itself, from PyPI: an app with records of its own, to be a sync's other side. */
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { freePort, stopProcess } from './relay';

/** Who may make buckets, as `kinto init` has it. */
const WHO = 'admin:throwaway-secret';
const START_MS_MAX = 60_000;

export type Kinto = {
  baseUrl: string;
  /** `user:password`. */
  token: string;
  /** The records of a collection in the bucket `office`. */
  records: (collection: string) => Promise<Record<string, unknown>[]>;
  change: (collection: string, id: string, fields: Record<string, unknown>) => Promise<void>;
  stop: () => Promise<void>;
};

/** With the collection `posts` of these fields, as JSON Schema has them. */
export async function startKinto(folder: string, properties: object): Promise<Kinto> {
  const fetchScript = resolve(import.meta.dirname, '../../../packaging/fetch-python.sh');
  const program = execFileSync(fetchScript, ['kinto']).toString().trim();
  const home = join(folder, 'kinto');
  mkdirSync(home);
  const ini = join(home, 'kinto.ini');
  const backend = ['--backend', 'memory', '--cache-backend', 'memory'];
  execFileSync(program, ['init', ...backend, '--host', '127.0.0.1', '--ini', ini], {
    stdio: 'ignore',
  });
  const more = '[app:main]\nkinto.experimental_collection_schema_validation = true\n';
  writeFileSync(ini, readFileSync(ini).toString().replace('[app:main]\n', more));
  const port = await freePort();
  const child = spawn(program, ['start', '--port', `${port}`, '--ini', ini], { stdio: 'ignore' });
  const baseUrl = `http://127.0.0.1:${port}/v1`;
  const headers = {
    authorization: `Basic ${Buffer.from(WHO).toString('base64')}`,
    'content-type': 'application/json',
  };
  const call = async (method: string, path: string, body?: object) => {
    const options = { method, headers, ...(body ? { body: JSON.stringify(body) } : {}) };
    const answer = await fetch(`${baseUrl}/${path}`, options);
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    return (await answer.json()) as { data: Record<string, unknown>[] };
  };
  const [user, password] = WHO.split(':');
  const began = Date.now();
  for (;;) {
    const made = call('PUT', `accounts/${user}`, { data: { password } });
    if (await made.then(() => true).catch(() => false)) break;
    if (Date.now() - began > START_MS_MAX) throw new Error('Kinto does not answer');
    await new Promise((over) => setTimeout(over, 100));
  }
  await call('PUT', 'buckets/office');
  const schema = { type: 'object', properties };
  await call('PUT', 'buckets/office/collections/posts', { data: { schema } });
  const at = (collection: string) => `buckets/office/collections/${collection}/records`;
  return {
    baseUrl,
    token: WHO,
    records: async (collection) => (await call('GET', at(collection))).data,
    change: async (collection, id, fields) => {
      await call('PATCH', `${at(collection)}/${id}`, { data: fields });
    },
    stop: () => stopProcess(child),
  };
}
