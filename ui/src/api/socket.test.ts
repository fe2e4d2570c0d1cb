// The one connection: calls, subscriptions, and what happens when it breaks.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ApiError, Unreachable } from './errors';
import { Socket } from './socket';

class Fake {
  static made: Fake[] = [];
  readyState = 0;
  sent: { id: number; method: string; params: Record<string, unknown> }[] = [];
  onopen?: () => void;
  onmessage?: (event: { data: string }) => void;
  onclose?: () => void;
  onerror?: () => void;

  constructor() {
    Fake.made.push(this);
  }

  send(text: string) {
    this.sent.push(JSON.parse(text));
  }

  close() {
    this.readyState = 3;
    this.onclose?.();
  }

  connect() {
    this.readyState = 1;
    this.onopen?.();
  }

  say(message: object) {
    this.onmessage?.({ data: JSON.stringify({ jsonrpc: '2.0', ...message }) });
  }
}

const last = () => Fake.made.at(-1) as Fake;

describe('the socket', () => {
  let socket: Socket;

  beforeEach(() => {
    vi.useFakeTimers();
    Fake.made = [];
    socket = new Socket('wss://xen.test/rpc', () => new Fake() as unknown as WebSocket);
    socket.open();
  });
  afterEach(() => {
    socket.close();
    vi.useRealTimers();
  });

  it('sends what was called before it was open', async () => {
    const call = socket.call('system.info', {});
    expect(last().sent).toEqual([]);
    last().connect();
    last().say({ id: last().sent[0]?.id, result: { version: '1', authority: 'a' } });
    await expect(call).resolves.toEqual({ version: '1', authority: 'a' });
  });

  it('gives mutations a key and asks again under it after a break', async () => {
    last().connect();
    const call = socket.call('vm.start', { vm: 'web-1' });
    const key = last().sent[0]?.params.idempotency_key;
    expect(key).toMatch(/^[0-9a-f-]{36}$/);
    last().close();
    expect(socket.link).toBe('lost');
    await vi.advanceTimersByTimeAsync(1_000);
    last().connect();
    expect(Fake.made).toHaveLength(2);
    expect(last().sent[0]?.params.idempotency_key).toBe(key);
    last().say({ id: last().sent[0]?.id, result: { task: 't' } });
    await expect(call).resolves.toEqual({ task: 't' });
  });

  it('tells an error with its reason, and that the session is over', async () => {
    const over = vi.fn();
    socket.onSignedOut = over;
    last().connect();
    const call = socket.call('vm.list', {});
    last().say({ id: last().sent[0]?.id, error: { code: -32001, message: 'sign in first', data: { reason: 'unauthenticated' } } });
    await expect(call).rejects.toMatchObject({ reason: 'unauthenticated', message: 'sign in first' });
    await expect(call).rejects.toBeInstanceOf(ApiError);
    expect(over).toHaveBeenCalledOnce();
  });

  it('opens subscriptions again and says so', async () => {
    last().connect();
    const items: unknown[] = [];
    const started = vi.fn();
    const stop = socket.subscribe('vm.subscribe', { filter: '' }, (item) => items.push(item), { started });
    // The first item may come before the answer that names the subscription.
    last().say({ method: 'vm.changed', params: { subscription: 7, result: { kind: 'ready', value: { total: 0 } } } });
    last().say({ id: last().sent[0]?.id, result: 7 });
    await vi.advanceTimersByTimeAsync(0);
    expect(items).toEqual([{ kind: 'ready', value: { total: 0 } }]);
    last().close();
    await vi.advanceTimersByTimeAsync(1_000);
    last().connect();
    expect(last().sent[0]?.method).toBe('vm.subscribe');
    last().say({ id: last().sent[0]?.id, result: 8 });
    await vi.advanceTimersByTimeAsync(0);
    expect(started).toHaveBeenCalledTimes(2);
    stop();
    expect(last().sent.at(-1)).toMatchObject({ method: 'vm.unsubscribe', params: [8] });
  });

  it('goes on from the last revision that a subscription was told', async () => {
    last().connect();
    const items: unknown[] = [];
    const started = vi.fn();
    socket.subscribe('vm.subscribe', { filter: 'tag:prod' }, (item) => items.push(item), { started });
    last().say({ id: last().sent[0]?.id, result: 7 });
    await vi.advanceTimersByTimeAsync(0);
    const ready = { kind: 'ready', value: { total: 0, revision: 'a.1' } };
    last().say({ method: 'vm.changed', params: { subscription: 7, result: ready } });
    last().say({ method: 'vm.changed', params: { subscription: 7, result: { kind: 'seen', value: { revision: 'a.7' } } } });
    expect(items).toEqual([ready]);
    last().close();
    await vi.advanceTimersByTimeAsync(1_000);
    last().connect();
    expect(last().sent[0]?.params).toEqual({ filter: 'tag:prod', since: 'a.7' });
    last().say({ id: last().sent[0]?.id, result: 8 });
    await vi.advanceTimersByTimeAsync(0);
    expect(started).toHaveBeenCalledOnce();
  });

  it('gives up a call that nobody answers', async () => {
    last().connect();
    const call = socket.call('vm.list', {});
    const refused = expect(call).rejects.toBeInstanceOf(Unreachable);
    last().close();
    await vi.advanceTimersByTimeAsync(25_000);
    await refused;
  });

  it('finds out that the other side is silent', async () => {
    last().connect();
    await vi.advanceTimersByTimeAsync(12_000);
    expect(last().sent.at(-1)?.method).toBe('system.info');
    await vi.advanceTimersByTimeAsync(6_000);
    expect(socket.link).toBe('lost');
  });
});
