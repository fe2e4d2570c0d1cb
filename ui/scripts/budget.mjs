// The first load: what index.html names, compressed. Fails over budget; the other chunks are told.

import { readFileSync, readdirSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const BUDGET_KB = { js: 400, css: 120 };
const site = fileURLToPath(new URL('../dist/site', import.meta.url));
const size = (name) => {
  const packed = `${site}/${name}.br`;
  return statSync(readdirSync(`${site}/assets`).includes(`${name}.br`.slice(7)) ? packed : `${site}/${name}`).size;
};
const html = readFileSync(`${site}/index.html`, 'utf8');
const first = [...html.matchAll(/(?:src|href)="\/(assets\/[^"]+\.(js|css))"/g)];
const total = { js: 0, css: 0 };
for (const [, name, kind] of first) total[kind] += size(name);
for (const [kind, budget] of Object.entries(BUDGET_KB)) {
  const kb = total[kind] / 1024;
  console.log(`first load, ${kind}: ${kb.toFixed(0)} KiB compressed (budget ${budget})`);
  if (kb > budget) process.exitCode = 1;
}
