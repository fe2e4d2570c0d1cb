// What is shown is read again after a change: soon, but not for each of a thousand.
//
// A change is to be seen within half a second of when the API has it. The orchestrator gathers for up to a tenth of it
// (orchestrator/inventory/src/inventory/watch.rs); what is waited here leaves the rest for the way, one read and the
// drawing. A test adds it up.

import { refresh } from '../api/client';

/** Before something is read again, for what comes with it. */
export const SOON_MS = 100;
/** From one reading to the next, while changes keep coming. */
export const AGAIN_MS = 700;
/** What is told of otherwise is read so often all the same, for what nobody told. */
export const FALLBACK_MS = 30_000;

/** How long to wait before reading what was read last at `last`. */
export const pauseBefore = (now: number, last: number): number => Math.max(SOON_MS, last + AGAIN_MS - now);

export class Again {
  private nouns = new Set<string>();
  private later: ReturnType<typeof setTimeout> | undefined;
  private last = -AGAIN_MS;

  /** Reads what is on the screen and begins with one of these nouns. */
  ask(...nouns: string[]) {
    nouns.forEach((noun) => this.nouns.add(noun));
    this.later ??= setTimeout(() => this.go(), pauseBefore(performance.now(), this.last));
  }

  stop() {
    clearTimeout(this.later);
    this.later = undefined;
    this.nouns.clear();
  }

  private go() {
    const nouns = [...this.nouns];
    this.stop();
    this.last = performance.now();
    refresh(...nouns);
  }
}
