// What a change waits for on its way to the screen, by design.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { AGAIN_MS, pauseBefore, SOON_MS } from './again';
import { GATHER_MS } from './rows';

const rust = (path: string) => readFileSync(join(__dirname, '../../..', path), 'utf8');

/** How long the orchestrator gathers changes at most, before it tells them. */
function gathered(): number {
  const found = /const GATHER: .*from_millis\(\d+\), Duration::from_millis\((\d+)\)/.exec(rust('orchestrator/inventory/src/inventory/watch.rs'));
  return Number(found?.[1]);
}

describe('a change', () => {
  it('waits for less than half of its half second, also where a page has to be read for it', () => {
    expect(gathered()).toBeGreaterThan(0);
    expect(gathered() + GATHER_MS + SOON_MS).toBeLessThanOrEqual(250);
  });

  it.each([
    ['alone is read for soon', 10_000, -AGAIN_MS, SOON_MS],
    ['just behind another one waits until that was long enough ago', 10_000, 9_900, AGAIN_MS - 100],
    ['a while behind another one is read for soon again', 10_000, 10_000 - AGAIN_MS, SOON_MS],
  ])('%s', (_name, now, last, pause) => {
    expect(pauseBefore(now, last)).toBe(pause);
  });
});
