// Files on their way to hosts, whichever page is looked at meanwhile.
//
// What always holds: an upload goes on where the host is, never where the page believes it to be; what is passing is
// tried again by itself, each time a little later; one that was given up keeps its file, to go on by hand. All of it ends
// with the page, which asks before it is left.

import { useSyncExternalStore } from 'react';
import { ApiError } from '../api/errors';
import { overHttp, type Mark, type Transport } from '../api/upload';

export interface Upload {
  vdi: string;
  task: string;
  name: string;
  size: number;
  done: number;
  /** Why it stands; without it, it goes. */
  error?: unknown;
}

interface Going {
  shown: Upload;
  file: Blob;
  ended: AbortController;
}

/** Without getting further. Some of them are at the beginning, before the host has its VDI. */
const TRIES = 20;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 5_000;

/** The same again may do. */
const PASSING = ['unreachable', 'host-unreachable', 'conflict', 'wrong-state', 'throttled', 'read-only'];

const passes = (error: unknown) => error instanceof ApiError && PASSING.includes(error.reason);

export class Uploads {
  private going = new Map<string, Going>();
  private list: Upload[] = [];
  private readonly listeners = new Set<() => void>();

  constructor(
    private readonly transport: Transport = overHttp,
    private readonly pause = (ms: number) => new Promise<void>((go) => setTimeout(go, ms)),
  ) {}

  watch = (listener: () => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  all = (): Upload[] => this.list;

  /** Sends `file` to a VDI that waits for it; resolves when it is whole, or stands. */
  begin(upload: Pick<Upload, 'vdi' | 'task' | 'name'>, file: Blob): Promise<void> {
    const one: Going = { shown: { ...upload, size: file.size, done: 0 }, file, ended: new AbortController() };
    this.going.set(upload.vdi, one);
    this.told();
    return this.run(one);
  }

  /** Goes on with one that stands. */
  goOn(vdi: string): Promise<void> {
    const one = this.going.get(vdi);
    if (!one) return Promise.resolve();
    this.change(one, { error: undefined });
    return this.run(one);
  }

  /** Sends no more of it. What the host has is its task's. */
  end(vdi: string) {
    this.going.get(vdi)?.ended.abort();
    this.going.delete(vdi);
    this.told();
  }

  private async run(one: Going) {
    const { signal } = one.ended;
    let failures = 0;
    let furthest = -1;
    while (!signal.aborted) {
      try {
        const mark = await this.once(one, signal);
        if (mark.whole) return this.end(one.shown.vdi);
        if (mark.done > furthest) failures = 0;
        furthest = Math.max(furthest, mark.done);
        failures += 1;
      } catch (error) {
        if (signal.aborted) return;
        if (one.shown.done > furthest) failures = 0;
        furthest = Math.max(furthest, one.shown.done);
        failures += 1;
        if (!passes(error) || failures > TRIES) return this.change(one, { error });
      }
      await this.pause(Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** failures));
    }
  }

  private async once(one: Going, signal: AbortSignal): Promise<Mark> {
    const { vdi } = one.shown;
    const mark = await this.transport.look(vdi, signal);
    this.change(one, { done: mark.done });
    if (mark.whole) return mark;
    return this.transport.send(vdi, one.file, mark.done, (sent) => this.change(one, { done: Math.min(one.file.size, mark.done + sent) }), signal);
  }

  private change(one: Going, part: Partial<Upload>) {
    one.shown = { ...one.shown, ...part };
    this.told();
  }

  private told() {
    this.list = [...this.going.values()].map(({ shown }) => shown);
    this.listeners.forEach((listener) => listener());
  }
}

export const uploads = new Uploads();

export const useUploads = (): Upload[] => useSyncExternalStore(uploads.watch, uploads.all);
