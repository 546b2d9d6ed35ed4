/**
 * After a build: compresses what is sent, beforehand and as small as it gets, and refuses a first
 * load (the page, and the overview that it shows) of more than its bound.
 */
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import type { Plugin } from 'vite';

/** Of scripts and styles together, as gzip: not every browser is spoken to with TLS and takes brotli. */
const FIRST_LOAD_BYTES_MAX = 250 * 1024;
/** Smaller ones fit into the packet that their headers are in. */
const COMPRESSED_BYTES_MIN = 512;
const FIRST_SHOWN = ['src/main.tsx', 'src/pages/overview/Overview.tsx'];

type Entry = { file: string; imports?: string[]; css?: string[] };

export function packed(folder: string): Plugin {
  return {
    name: 'packed',
    apply: 'build',
    closeBundle: () => {
      const manifest = join(folder, '.vite/manifest.json');
      const first = firstLoad(JSON.parse(readFileSync(manifest, 'utf8')) as Record<string, Entry>);
      rmSync(join(folder, '.vite'), { recursive: true });
      for (const file of files(folder)) compress(file);
      const sizes = first.map((file) => gzipSync(readFileSync(join(folder, file))).length);
      const bytes = sizes.reduce((sum, size) => sum + size, 0);
      const told = `first load: ${(bytes / 1024).toFixed(1)} KB in ${first.length} files`;
      if (bytes > FIRST_LOAD_BYTES_MAX) {
        throw new Error(`${told}, ${FIRST_LOAD_BYTES_MAX / 1024} KB are allowed: load more later`);
      }
      process.stdout.write(`${told}\n`);
    },
  };
}

function firstLoad(manifest: Record<string, Entry>): string[] {
  const found = new Set<string>();
  const seen = new Set<string>();
  const visit = (name: string) => {
    const entry = manifest[name];
    if (!entry || seen.has(name)) return;
    seen.add(name);
    [entry.file, ...(entry.css ?? [])].forEach((file) => found.add(file));
    entry.imports?.forEach(visit);
  };
  for (const name of FIRST_SHOWN) {
    // The page is `index.html` in the manifest.
    visit(name in manifest ? name : 'index.html');
  }
  return [...found];
}

function files(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((file) => /\.(html|js|css|svg|json)$/.test(file) && statSync(file).isFile());
}

function compress(file: string) {
  const plain = readFileSync(file);
  if (plain.length < COMPRESSED_BYTES_MIN) return;
  const params = { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY };
  writeFileSync(`${file}.br`, brotliCompressSync(plain, { params }));
  writeFileSync(`${file}.gz`, gzipSync(plain, { level: 9 }));
}
