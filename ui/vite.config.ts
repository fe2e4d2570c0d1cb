import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

/** The browser's tests, its bench (`big`) and its way on real Xen (`lab`) are asked for: they need the programs, and minutes. */
const browser = process.env.XENITH_BROWSER;
const kinds: Record<string, string> = { big: 'e2e/**/*.big.ts', lab: 'e2e/**/*.lab.ts' };
const asked = browser ? (kinds[browser] ?? 'e2e/**/*.test.ts') : 'src/**/*.test.{ts,tsx}';

export default defineConfig({
  plugins: [react()],
  build: {
    outDir: 'dist/site',
    emptyOutDir: true,
    // Data URLs would need exceptions in the Content-Security-Policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 1500,
  },
  server: { proxy: { '/rpc': { target: 'https://127.0.0.1:8443', secure: false, ws: true } } },
  test: {
    environment: 'happy-dom',
    include: [asked],
    testTimeout: browser ? 180_000 : 30_000,
    hookTimeout: 120_000,
    // One orchestrator and one browser at a time are enough for two cores.
    fileParallelism: !browser,
    css: false,
  },
});
