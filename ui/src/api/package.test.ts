// A file whose reader asks for pieces, loses its connection, or refuses.

import { describe, expect, it } from 'vitest';
import { Uploads } from '../live/uploads';
import { Unreachable } from './errors';
import { Broken, PackageFile, type Wire } from './package';

const FOUND = { name: 'web', os: '', vcpus: 1, memory_mib: 512, efi: false, nics: [], disks: [{ name: 'web-disk1', capacity: 8 }], warnings: [] };
const file = new File(['0123456789'], 'web.ova');
const text = (bytes: unknown) => String.fromCharCode(...new Uint8Array(bytes as ArrayBuffer));

/** An orchestrator that answers each message as it is told to; what it got is in `got`. */
class Server implements Wire {
  readyState = 1;
  onopen: Wire['onopen'] = null;
  onmessage: Wire['onmessage'] = null;
  onclose: Wire['onclose'] = null;
  got: unknown[] = [];
  closed = false;

  constructor(private readonly answer: (message: unknown, server: Server) => void) {
    queueMicrotask(() => this.onopen?.call(this as never, new Event('open')));
  }

  send(message: unknown) {
    const said: unknown = typeof message === 'string' ? JSON.parse(message) : text(message);
    this.got.push(said);
    queueMicrotask(() => this.answer(said, this));
  }

  say(message: object) {
    this.onmessage?.call(this as never, { data: JSON.stringify(message) } as MessageEvent);
  }

  close() {
    this.closed = true;
  }

  lose() {
    this.onclose?.call(this as never, {} as CloseEvent);
  }
}

/** Reads two pieces at once, and tells what it found; then one more for the disk. */
function well(message: unknown, server: Server) {
  if (typeof message === 'object' && 'open' in (message as object)) {
    server.say({ read: { from: 8, length: 2 } });
    server.say({ read: { from: 0, length: 3 } });
  }
  if (message === '012') server.say({ found: FOUND });
  if (typeof message === 'object' && 'send' in (message as object)) server.say({ read: { from: 3, length: 1 } });
  if (message === '3') {
    server.say({ progress: { done: 8, total: 8 } });
    server.say({ whole: true });
  }
}

describe('a VM’s file', () => {
  it('is read in the pieces that are asked for, in their order, and then sent', async () => {
    const server = new Server(well);
    const source = new PackageFile(file, { manifest: true }, () => server);
    expect(await source.look()).toEqual(FOUND);
    const told: number[][] = [];
    await source.send('i', true, (done, total) => told.push([done, total]), new AbortController().signal);
    expect(server.got).toEqual([{ open: { file: 'web.ova', size: 10, manifest: true } }, '89', '012', { send: { import: 'i', again: true } }, '3']);
    expect(told).toEqual([[8, 8]]);
    expect(server.closed).toBe(true);
  });

  it('that is refused says why, and is not tried again', async () => {
    const server = new Server((_message, server) => server.say({ error: { code: -32000, message: 'no disk in it', data: { reason: 'invalid' } } }));
    await expect(new PackageFile(file, {}, () => server).look()).rejects.toMatchObject({ message: 'no disk in it', passing: false });
    expect(server.closed).toBe(true);
  });

  it('whose connection is lost is opened again, and goes on by itself', async () => {
    const servers: Server[] = [];
    // The first is lost in the middle of a disk, the second told that the host is away.
    const lossy = [
      (message: unknown, server: Server) => (message === '3' ? server.lose() : well(message, server)),
      (message: unknown, server: Server) => (message === '3' ? server.say({ error: { code: -32000, message: 'away', data: { reason: 'host-unreachable' }, passing: true } }) : well(message, server)),
      well,
    ];
    const source = new PackageFile(file, {}, () => {
      const server = new Server(lossy[servers.length] ?? well);
      servers.push(server);
      return server;
    });
    await source.look();
    const uploads = new Uploads(undefined, () => Promise.resolve());
    await uploads.beginVm({ id: 'i', task: 't', name: 'web', size: 8 }, source, 'ours');
    expect(uploads.all()).toEqual([]);
    expect(servers).toHaveLength(3);
  });

  it('stands where it was refused for good', async () => {
    const server = new Server((message, server) => (message === '3' ? server.say({ error: { code: -32000, message: 'another file', data: { reason: 'conflict' }, passing: false } }) : well(message, server)));
    const uploads = new Uploads(undefined, () => Promise.resolve());
    await uploads.beginVm({ id: 'i', task: 't', name: 'web', size: 8 }, new PackageFile(file, {}, () => server), 'anybodys');
    expect(uploads.all()[0]?.error).toBeInstanceOf(Broken);
    expect(server.got.at(-2)).toEqual({ send: { import: 'i' } });
  });

  it('that is cancelled sends nothing more', async () => {
    let uploads: Uploads | undefined;
    const server = new Server((message, server) => (message === '3' ? uploads?.end('i') : well(message, server)));
    uploads = new Uploads(undefined, () => Promise.resolve());
    await uploads.beginVm({ id: 'i', task: 't', name: 'web', size: 8 }, new PackageFile(file, {}, () => server), 'ours');
    expect(server.closed).toBe(true);
    expect(uploads.all()).toEqual([]);
  });

  it('that goes away while it is read is an error', async () => {
    const gone = new File(['x'], 'web.ova');
    gone.slice = () => ({ arrayBuffer: () => Promise.reject(new Error('NotReadableError')) }) as unknown as Blob;
    const source = new PackageFile(gone, {}, () => new Server(well));
    await expect(source.look()).rejects.toThrow('The file can no longer be read');
  });

  it('without an orchestrator is said to be so', async () => {
    const source = new PackageFile(file, {}, () => new Server((_message, server) => server.lose()));
    await expect(source.look()).rejects.toBeInstanceOf(Unreachable);
  });
});
