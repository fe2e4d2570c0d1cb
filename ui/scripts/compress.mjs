// Lays a brotli file beside each file of the built site that gets smaller by it. The orchestrator's build takes both.

import { readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants } from 'node:zlib';

const site = fileURLToPath(new URL('../dist/site', import.meta.url));
for (const name of readdirSync(site, { recursive: true })) {
  const path = `${site}/${name}`;
  if (!/\.(html|js|css|svg|json)$/.test(name) || !statSync(path).isFile()) continue;
  const plain = readFileSync(path);
  const packed = brotliCompressSync(plain, {
    params: { [constants.BROTLI_PARAM_QUALITY]: 10, [constants.BROTLI_PARAM_SIZE_HINT]: plain.length },
  });
  if (packed.length < plain.length) writeFileSync(`${path}.br`, packed);
}
