// A VM's file, which the orchestrator reads piece by piece over a WebSocket (docs/vmware-import.md): the page keeps the
// file and gives the pieces that it is asked for, in the order asked. No format is looked into here.

import { ApiError, Unreachable, type WireError } from './errors';

/** What a file describes, as it says itself. */
export interface Found {
  /** Empty: it does not say, as a bare disk. */
  name: string;
  os: string;
  vcpus: number | null;
  memory_mib: number | null;
  efi: boolean;
  nics: { network: string; mac: string | null }[];
  /** `capacity` in bytes. */
  disks: { name: string; capacity: number }[];
  warnings: string[];
}

/** How to open it. */
export interface Opening {
  /** Which VM, of a package with several. */
  vm?: string;
  /** It is a disk of no format. */
  raw?: boolean;
  /** Sum up all of it first, and compare that with the package's manifest. */
  manifest?: boolean;
}

/** It was refused, or broke off. */
export class Broken extends ApiError {
  constructor(
    wire: WireError,
    /** The same again may do: the host has kept how far it is. */
    readonly passing: boolean,
  ) {
    super(wire);
  }
}

type Said = {
  read?: { from: number; length: number };
  found?: Found;
  progress?: { done: number; total: number };
  whole?: boolean;
  error?: WireError & { passing?: boolean };
};

type Tell = (done: number, total: number) => void;

/** What a link needs of a WebSocket; a test has another one. */
export type Wire = Pick<WebSocket, 'readyState' | 'send' | 'close' | 'onopen' | 'onmessage' | 'onclose'>;

const toOrchestrator = (): Wire => new WebSocket(`wss://${location.host}/upload/import`);

/** One connection: opened, then asked to send; it ends with its first error. */
class Link {
  private turn: Promise<void> = Promise.resolve();
  private waiting?: { done(found?: Found): void; failed(error: unknown): void };
  private over?: unknown;
  private tell: Tell = () => undefined;
  private readonly opened: Promise<void>;

  constructor(
    private readonly wire: Wire,
    private readonly file: Blob,
  ) {
    this.opened = new Promise((go) => {
      wire.onopen = () => go();
    });
    wire.onmessage = ({ data }) => this.heard(JSON.parse(String(data)) as Said);
    wire.onclose = () => this.end(new Unreachable());
  }

  get alive(): boolean {
    return this.over === undefined;
  }

  async open(message: object): Promise<Found> {
    const found = this.answer();
    void this.opened.then(() => this.say({ open: message }));
    return (await found) as Found;
  }

  async send(message: object, tell: Tell): Promise<void> {
    this.tell = tell;
    const whole = this.answer();
    this.say({ send: message });
    await whole;
  }

  end(why: unknown) {
    if (!this.alive) return;
    this.over = why;
    this.waiting?.failed(why);
    this.wire.close();
  }

  private say(message: object) {
    if (this.alive) this.wire.send(JSON.stringify(message));
  }

  private answer(): Promise<Found | undefined> {
    return new Promise((done, failed) => {
      if (this.alive) this.waiting = { done, failed };
      else failed(this.over);
    });
  }

  private heard({ read, found, progress, whole, error }: Said) {
    // One after the other: the pieces are told apart by their order alone.
    if (read) this.turn = this.turn.then(() => this.give(read.from, read.length));
    if (progress) this.tell(progress.done, progress.total);
    if (error) this.end(new Broken(error, error.passing === true));
    if (found || whole) this.waiting?.done(found);
  }

  private async give(from: number, length: number) {
    try {
      const bytes = await this.file.slice(from, from + length).arrayBuffer();
      if (this.alive) this.wire.send(bytes);
    } catch {
      this.end(new Broken({ code: 0, message: 'The file can no longer be read: it was moved or changed.', data: { reason: 'invalid' } }, false));
    }
  }
}

/** A file of this computer with a VM in it. */
export class PackageFile {
  private link?: Link;

  constructor(
    readonly file: File,
    private readonly opening: Opening = {},
    private readonly connect: () => Wire = toOrchestrator,
  ) {}

  /** What it describes; nothing is made of it. */
  async look(): Promise<Found> {
    this.close();
    this.link = new Link(this.connect(), this.file);
    return this.link.open({ file: this.file.name, size: this.file.size, ...this.opening });
  }

  /**
   * Sends its disks to an import that waits for them, from where the host is; resolves when they are whole. `again`: the
   * host has nothing but what this very file brought, so that this is not compared first.
   */
  async send(id: string, again: boolean, tell: Tell, signal: AbortSignal): Promise<void> {
    const stop = () => this.close();
    signal.addEventListener('abort', stop, { once: true });
    try {
      if (!this.link?.alive) await this.look();
      await this.link?.send({ import: id, ...(again ? { again } : {}) }, tell);
    } finally {
      signal.removeEventListener('abort', stop);
      this.close();
    }
  }

  close() {
    this.link?.end(new Unreachable());
    this.link = undefined;
  }
}
