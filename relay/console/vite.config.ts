/** How the console is built: into `dist`, from where the relay embeds it. */
import { fileURLToPath } from 'node:url';
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';
import { packed } from './build/packed.ts';
import { themeCss } from './build/theme-css.ts';

const dist = fileURLToPath(new URL('./dist', import.meta.url));
/** Where `npm run dev` finds a relay. */
const relay = process.env['TIDEGATE_API'] ?? 'http://127.0.0.1:8080';

export default defineConfig({
  plugins: [react(), themeCss(), packed(dist)],
  server: { proxy: { '/api': relay } },
  build: {
    outDir: dist,
    emptyOutDir: true,
    manifest: true,
    // Files of their own instead of `data:` addresses, so that the policy stays narrow.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // `packed` has a bound for what is loaded first, which is what counts.
    reportCompressedSize: false,
    chunkSizeWarningLimit: 1_000,
  },
  test: {
    environment: 'happy-dom',
    include: ['src/**/*.test.{ts,tsx}', 'build/**/*.test.ts'],
    setupFiles: ['src/test-setup.ts'],
  },
});
