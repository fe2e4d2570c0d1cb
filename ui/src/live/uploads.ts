// Files on their way to hosts, whichever page is looked at meanwhile.
//
// What always holds: an upload goes on where the host is, never where the page believes it to be; what is passing is
// tried again by itself, each time a little later; one that was given up keeps its file, to go on by hand. All of it ends
// with the page, which asks before it is left.

import { useSyncExternalStore } from 'react';
import { ApiError } from '../api/errors';
import { Broken, type PackageFile } from '../api/package';
import { overHttp, type Mark, type Transport } from '../api/upload';

export interface Upload {
  /** Of the VDI, or of the import. */
  id: string;
  task: string;
  name: string;
  size: number;
  done: number;
  /** Why it stands; without it, it goes. */
  error?: unknown;
}

type Tell = (done: number, size: number) => void;

interface Going {
  shown: Upload;
  /** Asks how far the host is, and sends from there. */
  once(tell: Tell, signal: AbortSignal): Promise<Mark>;
  ended: AbortController;
}

/** Without getting further. Some of them are at the beginning, before the host has its VDI. */
const TRIES = 20;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 5_000;

/** The same again may do. */
const PASSING = ['unreachable', 'host-unreachable', 'conflict', 'wrong-state', 'throttled', 'read-only'];

const passes = (error: unknown) => (error instanceof Broken ? error.passing : error instanceof ApiError && PASSING.includes(error.reason));

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
  begin(upload: Pick<Upload, 'id' | 'task' | 'name'>, file: Blob): Promise<void> {
    return this.add({ ...upload, size: file.size }, async (tell, signal) => {
      const mark = await this.transport.look(upload.id, signal);
      tell(mark.done, file.size);
      if (mark.whole) return mark;
      return this.transport.send(upload.id, file, mark.done, (sent) => tell(Math.min(file.size, mark.done + sent), file.size), signal);
    });
  }

  /** Sends the disks of a VM's file to an import that waits for them; `ours`: it was begun with this very file. */
  beginVm(upload: Pick<Upload, 'id' | 'task' | 'name' | 'size'>, source: Pick<PackageFile, 'send'>, ours: 'ours' | 'anybodys'): Promise<void> {
    return this.add(upload, async (tell, signal) => {
      await source.send(upload.id, ours === 'ours', tell, signal);
      return { done: upload.size, whole: true };
    });
  }

  /** Goes on with one that stands. */
  goOn(id: string): Promise<void> {
    const one = this.going.get(id);
    if (!one) return Promise.resolve();
    this.change(one, { error: undefined });
    return this.run(one);
  }

  /** Sends no more of it. What the host has is its task's. */
  end(id: string) {
    this.going.get(id)?.ended.abort();
    this.going.delete(id);
    this.told();
  }

  private add(upload: Omit<Upload, 'done' | 'error'>, once: Going['once']): Promise<void> {
    const one: Going = { shown: { ...upload, done: 0 }, once, ended: new AbortController() };
    this.going.set(upload.id, one);
    this.told();
    return this.run(one);
  }

  private async run(one: Going) {
    const { signal } = one.ended;
    let failures = 0;
    let furthest = -1;
    while (!signal.aborted) {
      try {
        const mark = await one.once((done, size) => this.change(one, { done, size }), signal);
        if (mark.whole) return this.end(one.shown.id);
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
