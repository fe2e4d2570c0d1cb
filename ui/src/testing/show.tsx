// A screen as a test has it: with the real client in front of an API that answers from a table, somebody signed in, and
// an address. Only tests use it; it is in no bundle.

import { QueryClientProvider } from '@tanstack/react-query';
import { act, cleanup, configure, render } from '@testing-library/react';
import axe from 'axe-core';
import { MemoryRouter, Route, Routes, useLocation, useNavigate, type NavigateFunction } from 'react-router';
import { afterEach } from 'vitest';
import { queries, SocketProvider } from '../api/client';
import { SUBSCRIPTIONS, type MethodName, type Methods, type Role, type SubscriptionName, type Subscriptions, type User } from '../api/generated';
import { Socket } from '../api/socket';
import { startLanguages } from '../i18n';
import { ActsProvider } from '../parts/acts';
import { ToastsProvider } from '../parts/toasts';
import { UserContext } from '../shell/user';

/** What is answered: a value, or what makes one of the parameters. To throw is to refuse. */
export type Answers = { [M in MethodName]?: Methods[M]['result'] | ((params: Methods[M]['params'] & { dry_run?: boolean }) => unknown) };

export class Refusal extends Error {
  constructor(
    message: string,
    readonly reason = 'wrong-state',
  ) {
    super(message);
  }
}

export interface Asked {
  method: string;
  params: Record<string, unknown>;
}

class Wire {
  readyState = 1;
  onopen?: () => void;
  onclose?: () => void;
  onmessage?: (event: { data: string }) => void;
  private readonly followed: { method: string; subscription: string }[] = [];

  constructor(
    private readonly answers: Answers,
    private readonly asked: Asked[],
  ) {
    queueMicrotask(() => this.onopen?.());
  }

  send(text: string) {
    const { id, method, params } = JSON.parse(text) as Asked & { id: number };
    const say = (message: object) => queueMicrotask(() => this.onmessage?.({ data: JSON.stringify({ jsonrpc: '2.0', id, ...message }) }));
    if (/subscribe$/.test(method)) {
      const subscription = `${method} ${id}`;
      this.followed.push({ method, subscription });
      return say({ result: subscription });
    }
    const { idempotency_key: _key, ...given } = params;
    this.asked.push({ method, params: given });
    const answer = this.answers[method as MethodName];
    if (answer === undefined) return say({ error: { code: -32_601, message: `the test has no answer to ${method}` } });
    try {
      say({ result: typeof answer === 'function' ? (answer as (params: object) => unknown)(given) : answer });
    } catch (error) {
      say({ error: { code: -32_000, message: (error as Error).message, data: { reason: (error as Refusal).reason } } });
    }
  }

  tell(name: SubscriptionName, result: unknown) {
    const to = this.followed.filter(({ method }) => method === name);
    to.forEach(({ subscription }) => this.onmessage?.({ data: JSON.stringify({ jsonrpc: '2.0', method: SUBSCRIPTIONS[name].notification, params: { subscription, result } }) }));
  }

  close() {
    this.readyState = 3;
  }
}

export const page = <T,>(items: T[]) => ({ items, total: items.length, next: null });

export const somebody = (role: Role = 'admin'): User => ({ id: 'u', name: 'dora', bindings: [{ role, scope: { kind: 'all' } }], disabled: false, created: '' });

function Address({ told }: { told(address: string, navigate: NavigateFunction): void }) {
  const { pathname, search } = useLocation();
  told(pathname + search, useNavigate());
  return null;
}

// Every wait is for something; how long it may take is the machine's affair.
configure({ asyncUtilTimeout: 20_000 });

// Nothing is laid out here: without a height a table would have no row in sight.
for (const side of ['clientWidth', 'clientHeight']) Object.defineProperty(HTMLElement.prototype, side, { configurable: true, get: () => 800 });

/** What axe finds serious in what is shown, without what only a browser knows: colours and places. */
export async function serious(): Promise<string[]> {
  const { violations } = await axe.run(document.body, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'], rules: { 'color-contrast': { enabled: false }, 'target-size': { enabled: false } } });
  return violations.filter(({ impact }) => impact === 'serious' || impact === 'critical').map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' | ')}`);
}

const open = new Set<Socket>();
afterEach(() => {
  cleanup();
  open.forEach((socket) => socket.close());
  open.clear();
});

interface Wish {
  answers?: Answers;
  user?: User;
  /** The address, and the route that the element stands at. */
  at?: string;
  route?: string;
}

/**
 * Shows `element`; what it asked of the API is in `asked`, where one is then in `address()`, `back` is the browser's, `tell`
 * is a message of a subscription, and `cut` breaks the connection, which comes back by itself.
 */
export async function show(element: React.ReactNode, { answers = {}, user = somebody(), at = '/', route = '*' }: Wish = {}) {
  await startLanguages('en');
  queries.clear();
  const asked: Asked[] = [];
  const wires: Wire[] = [];
  const socket = new Socket('wss://xen.test/rpc', () => {
    const wire = new Wire(answers, asked);
    wires.push(wire);
    return wire as unknown as WebSocket;
  });
  socket.open();
  open.add(socket);
  let address = at;
  let navigate: NavigateFunction | undefined;
  const shown = render(
    <SocketProvider value={socket}>
      <QueryClientProvider client={queries}>
        <UserContext value={user}>
          <MemoryRouter initialEntries={[at]}>
            <ToastsProvider>
              <ActsProvider>
                <Routes>
                  <Route path={route} element={element} />
                  <Route path="*" element={null} />
                </Routes>
                <Address told={(now, go) => ([address, navigate] = [now, go])} />
              </ActsProvider>
            </ToastsProvider>
          </MemoryRouter>
        </UserContext>
      </QueryClientProvider>
    </SocketProvider>,
  );
  const calls = (method: MethodName) => asked.filter((one) => one.method === method).map(({ params }) => params);
  const tell = <S extends SubscriptionName>(name: S, item: Subscriptions[S]['item']) => wires.forEach((wire) => wire.tell(name, item));
  const cut = () => wires.at(-1)?.onclose?.();
  const back = () => act(() => void navigate?.(-1));
  return { ...shown, asked, calls, tell, cut, back, address: () => address };
}
