// An upload against a host that loses its connection, restarts, or refuses.

import { describe, expect, it } from 'vitest';
import { ApiError, Unreachable } from '../api/errors';
import type { Mark, Transport } from '../api/upload';
import { Uploads } from './uploads';

const SIZE = 100;
const file = new Blob(['x'.repeat(SIZE)]);
const refusal = (reason: string, message = reason) => new ApiError({ code: 0, message, data: { reason } });

/** A host that answers what is in the list, one after the other; then all goes well. */
class Host implements Transport {
  asked: string[] = [];
  here = 0;

  constructor(private readonly answers: (Error | number)[] = []) {}

  look(): Promise<Mark> {
    this.asked.push('look');
    return Promise.resolve({ done: this.here, whole: this.here === SIZE });
  }

  send(_vdi: string, given: Blob, from: number, progress: (sent: number) => void): Promise<Mark> {
    this.asked.push(`send from ${from}`);
    const answer = this.answers.shift() ?? given.size - from;
    // So much arrives before it breaks.
    const arrives = typeof answer === 'number' ? answer : 0;
    progress(arrives);
    this.here = from + arrives;
    if (answer instanceof Error) return Promise.reject(answer);
    return this.here === given.size ? Promise.resolve({ done: this.here, whole: true }) : Promise.reject(new Unreachable());
  }
}

async function upload(host: Transport) {
  const pauses: number[] = [];
  const uploads = new Uploads(host, (ms) => (pauses.push(ms), Promise.resolve()));
  await uploads.begin({ id: 'v', task: 't', name: 'disk' }, file);
  return { uploads, pauses };
}

describe('an upload', () => {
  it('is done in one go, and then no more to be seen', async () => {
    const host = new Host();
    const { uploads, pauses } = await upload(host);
    expect(host.asked).toEqual(['look', 'send from 0']);
    expect(pauses).toEqual([]);
    expect(uploads.all()).toEqual([]);
  });

  it('goes on where the host is, not where it got to itself', async () => {
    const host = new Host([40, 30]);
    const { uploads } = await upload(host);
    expect(host.asked).toEqual(['look', 'send from 0', 'look', 'send from 40', 'look', 'send from 70']);
    expect(uploads.all()).toEqual([]);
  });

  it('waits longer each time that nothing got further, and not after it did', async () => {
    const nothing = [new Unreachable(), refusal('wrong-state'), refusal('conflict')];
    const { pauses } = await upload(new Host([...nothing, 10, new Unreachable()]));
    expect(pauses.slice(0, 3)).toEqual([500, 1000, 2000]);
    expect(pauses[3]).toBe(500);
  });

  it('stands with what the host said, and goes on by hand', async () => {
    const host = new Host([refusal('host-failed', 'the disk is full')]);
    const { uploads, pauses } = await upload(host);
    expect(pauses).toEqual([]);
    expect(uploads.all()).toMatchObject([{ id: 'v', error: { message: 'the disk is full' } }]);
    await uploads.goOn('v');
    expect(uploads.all()).toEqual([]);
  });

  it('gives up in the end, and keeps its file', async () => {
    const host = new Host(Array.from({ length: 30 }, () => new Unreachable()));
    const { uploads, pauses } = await upload(host);
    expect(pauses.length).toBe(20);
    expect(Math.max(...pauses)).toBe(5000);
    expect(uploads.all()[0]?.error).toBeInstanceOf(Unreachable);
  });

  it('that was cancelled sends nothing more and says nothing', async () => {
    let uploads: Uploads | undefined;
    const host = new Host([refusal('host-failed')]);
    const cancelled: Transport = {
      look: () => host.look(),
      send: (vdi, given, from, progress) => {
        uploads?.end('v');
        return host.send(vdi, given, from, progress);
      },
    };
    uploads = new Uploads(cancelled, () => Promise.resolve());
    await uploads.begin({ id: 'v', task: 't', name: 'disk' }, file);
    expect(host.asked).toEqual(['look', 'send from 0']);
    expect(uploads.all()).toEqual([]);
  });
});
