import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

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
    // The browser's tests are asked for: they need the programs, and minutes.
    include: process.env.XENITH_BROWSER ? ['e2e/**/*.test.ts'] : ['src/**/*.test.{ts,tsx}'],
    testTimeout: process.env.XENITH_BROWSER ? 180_000 : 30_000,
    hookTimeout: 120_000,
    // One orchestrator and one browser at a time are enough for two cores.
    fileParallelism: !process.env.XENITH_BROWSER,
    css: false,
  },
});
