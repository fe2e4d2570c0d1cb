// One WebSocket for everything: calls and subscriptions, multiplexed; it comes back by itself.
//
// What always holds: a call that was not answered when the connection broke goes out again (reads are harmless,
// mutations carry an idempotency key and take effect once); a subscription is opened again: one that was told how far
// it is goes on from there, of another its owner is told, because what happened in between was missed. Silence is tested with a call, so that `lastHeard` is the age of
// what the screen shows.

import { ApiError, Unreachable, type WireError } from './errors';
import { METHODS, SUBSCRIPTIONS, type MethodName, type Methods, type SubscriptionName, type Subscriptions } from './generated';

export type Link = 'connecting' | 'open' | 'lost' | 'closed';

/** How long a call waits for an answer or for the connection to come back. */
const PATIENCE_MS = 20_000;
const QUIET_MS = 10_000;
const ANSWER_MS = 5_000;
const LONGEST_PAUSE_MS = 5_000;

interface Waiting {
  text: string;
  resolve(value: unknown): void;
  reject(error: Error): void;
  deadline: number;
  sent: boolean;
}

interface Following {
  name: SubscriptionName;
  params: unknown;
  item(value: unknown): void;
  started?(): void;
  failed?(error: ApiError): void;
  id?: string | number;
  /** How far it was told. */
  since?: string;
}

type Opener = (url: string) => WebSocket;

/** Where a subscription may go on after this message, if it says so. */
function revisionOf(message: unknown): string | undefined {
  const { kind, value } = (message ?? {}) as { kind?: string; value?: { revision?: string } };
  return kind === 'ready' || kind === 'seen' ? value?.revision : undefined;
}

export class Socket {
  private socket: WebSocket | undefined;
  private nextId = 1;
  private attempts = 0;
  private readonly waiting = new Map<number, Waiting>();
  private readonly following = new Set<Following>();
  private readonly early = new Map<string | number, unknown[]>();
  private readonly listeners = new Set<() => void>();
  private timers: ReturnType<typeof setTimeout>[] = [];
  private probing = false;
  link: Link = 'closed';
  lastHeard = 0;
  /** Called when a call finds that the session is over. */
  onSignedOut: (() => void) | undefined;

  constructor(
    private readonly url: string,
    private readonly opener: Opener = (url) => new WebSocket(url),
  ) {}

  watch = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  private become(link: Link) {
    if (this.link === link) return;
    this.link = link;
    this.listeners.forEach((listener) => listener());
  }

  open() {
    if (this.link !== 'closed') return;
    this.become('connecting');
    this.connect();
    this.timers.push(setInterval(() => this.tick(), 1_000) as never);
    globalThis.addEventListener?.('online', this.hurry);
    globalThis.document?.addEventListener('visibilitychange', this.hurry);
  }

  close() {
    this.timers.forEach((timer) => clearTimeout(timer));
    this.timers = [];
    globalThis.removeEventListener?.('online', this.hurry);
    globalThis.document?.removeEventListener('visibilitychange', this.hurry);
    this.become('closed');
    this.socket?.close();
    this.socket = undefined;
    this.failAll();
    this.following.forEach((one) => (one.id = undefined));
  }

  private failAll() {
    const all = [...this.waiting.values()];
    this.waiting.clear();
    all.forEach((one) => one.reject(new Unreachable()));
  }

  private hurry = () => {
    if (this.link === 'lost' && !this.socket) this.connect();
  };

  private connect() {
    if (this.socket || this.link === 'closed') return;
    const socket = this.opener(this.url);
    this.socket = socket;
    socket.onopen = () => {
      if (this.socket !== socket) return;
      this.attempts = 0;
      this.heard();
      this.become('open');
      this.waiting.forEach((one) => this.send(one));
      this.following.forEach((one) => this.start(one));
    };
    socket.onmessage = (event) => {
      this.heard();
      this.receive(JSON.parse(String(event.data)));
    };
    socket.onclose = () => this.broke(socket);
    socket.onerror = () => this.broke(socket);
  }

  private broke(socket: WebSocket) {
    if (this.socket !== socket) return;
    this.socket = undefined;
    this.probing = false;
    this.early.clear();
    this.waiting.forEach((one) => (one.sent = false));
    this.following.forEach((one) => (one.id = undefined));
    if (this.link === 'closed') return;
    this.become('lost');
    const pause = Math.min(LONGEST_PAUSE_MS, 250 * 2 ** this.attempts++);
    this.timers.push(setTimeout(() => this.connect(), pause * (0.75 + Math.random() / 2)));
  }

  private heard() {
    this.lastHeard = Date.now();
    this.probing = false;
  }

  /** Gives up what waited too long; asks something when it has been quiet; ends a connection that is silent. */
  private tick() {
    const now = Date.now();
    this.waiting.forEach((one, id) => {
      if (now <= one.deadline) return;
      this.waiting.delete(id);
      one.reject(new Unreachable());
    });
    if (this.link !== 'open') {
      this.listeners.forEach((listener) => listener());
      return;
    }
    if (!this.probing && now - this.lastHeard > QUIET_MS) {
      this.probing = true;
      this.call('system.info', {}).catch(() => undefined);
    } else if (this.probing && now - this.lastHeard > QUIET_MS + ANSWER_MS) {
      const silent = this.socket;
      silent?.close();
      if (silent) this.broke(silent);
    }
  }

  private send(one: Waiting) {
    if (this.socket?.readyState !== 1 || one.sent) return;
    one.sent = true;
    this.socket.send(one.text);
  }

  private request(method: string, params: unknown): Promise<unknown> {
    const id = this.nextId++;
    return new Promise((resolve, reject) => {
      const text = JSON.stringify({ jsonrpc: '2.0', id, method, params });
      const one = { text, resolve, reject, deadline: Date.now() + PATIENCE_MS, sent: false };
      this.waiting.set(id, one);
      this.send(one);
    });
  }

  call<M extends MethodName>(method: M, params: Methods[M]['params']): Promise<Methods[M]['result']> {
    const keyed = METHODS[method].mutation ? { idempotency_key: crypto.randomUUID(), ...params } : params;
    return this.request(method, keyed) as Promise<Methods[M]['result']>;
  }

  subscribe<S extends SubscriptionName>(
    name: S,
    params: Subscriptions[S]['params'],
    item: (value: Subscriptions[S]['item']) => void,
    more: { started?(): void; failed?(error: ApiError): void } = {},
  ): () => void {
    const one: Following = { name, params, item: item as (value: unknown) => void, ...more };
    this.following.add(one);
    if (this.link === 'open') this.start(one);
    return () => {
      this.following.delete(one);
      if (one.id === undefined || this.link !== 'open') return;
      this.request(SUBSCRIPTIONS[name].unsubscribe, [one.id]).catch(() => undefined);
    };
  }

  private start(one: Following) {
    const goesOn = one.since !== undefined;
    const params = goesOn ? { ...(one.params as object), since: one.since } : one.params;
    this.request(one.name, params).then(
      (id) => {
        const known = id as string | number;
        if (!this.following.has(one)) {
          this.request(SUBSCRIPTIONS[one.name].unsubscribe, [known]).catch(() => undefined);
          return;
        }
        one.id = known;
        if (!goesOn) one.started?.();
        const early = this.early.get(known) ?? [];
        this.early.delete(known);
        early.forEach((value) => this.deliver(one, value));
      },
      (error) => one.failed?.(error as ApiError),
    );
  }

  private deliver(one: Following, value: unknown) {
    const refused = (value as { error?: WireError } | null)?.error;
    if (refused) one.failed?.(new ApiError(refused));
    else {
      one.since = revisionOf(value) ?? one.since;
      if ((value as { kind?: string } | null)?.kind !== 'seen') one.item(value);
    }
  }

  private receive(message: {
    id?: number;
    result?: unknown;
    error?: WireError;
    params?: { subscription: string | number; result: unknown };
  }) {
    if (message.params) {
      const { subscription, result } = message.params;
      const one = [...this.following].find((one) => one.id === subscription);
      if (one) this.deliver(one, result);
      else this.early.set(subscription, [...(this.early.get(subscription) ?? []), result].slice(-1000));
      return;
    }
    const one = this.waiting.get(message.id ?? 0);
    if (!one) return;
    this.waiting.delete(message.id ?? 0);
    if (!message.error) return one.resolve(message.result);
    const error = new ApiError(message.error);
    if (error.reason === 'unauthenticated') this.onSignedOut?.();
    one.reject(error);
  }
}
