// How screens read and act: TanStack Query over the socket.

import { QueryClient, useQuery, type UseQueryResult } from '@tanstack/react-query';
import { createContext, useContext, useEffect, useRef, useSyncExternalStore } from 'react';
import { ApiError } from './errors';
import type { MethodName, Methods, SubscriptionName, Subscriptions } from './generated';
import { Socket, type Link } from './socket';

export const socket = new Socket(`wss://${globalThis.location?.host ?? 'localhost'}/rpc`);

export const queries = new QueryClient({
  defaultOptions: {
    queries: { staleTime: 2_000, gcTime: 60_000, retry: false, refetchOnWindowFocus: false },
  },
});

const SocketContext = createContext<Socket>(socket);
export const SocketProvider = SocketContext.Provider;
export const useSocket = (): Socket => useContext(SocketContext);

export function useLink(): { link: Link; age: number } {
  const socket = useSocket();
  const text = useSyncExternalStore(socket.watch, () => {
    const age = socket.link === 'open' ? 0 : Math.floor((Date.now() - socket.lastHeard) / 1000);
    return `${socket.link} ${age}`;
  });
  const [link, age] = text.split(' ');
  return { link: link as Link, age: Number(age) };
}

export interface ReadOptions {
  enabled?: boolean;
  /** Ask again this often, for what has no subscription. */
  every?: number;
}

/** A read method's answer, kept fresh. */
export function useRead<M extends MethodName>(
  method: M,
  params: Methods[M]['params'],
  { enabled = true, every }: ReadOptions = {},
): UseQueryResult<Methods[M]['result'], ApiError> {
  const socket = useSocket();
  return useQuery<Methods[M]['result'], ApiError>({
    queryKey: [method, params],
    queryFn: () => socket.call(method, params),
    enabled,
    refetchInterval: every ?? false,
    refetchIntervalInBackground: false,
  });
}

/** Of one thing that is read again as it changes: what is gone meanwhile, or no longer to be seen, is not shown as it was. */
export function there<R>({ data, error }: { data: R | undefined; error: unknown }): R | undefined {
  return error instanceof ApiError && ['not-found', 'forbidden'].includes(error.reason) ? undefined : data;
}

/** What a change would do, asked with `dry_run`: nothing is done, and what would be refused is refused now. */
export function usePlan<P>(method: MethodName, params: object): UseQueryResult<{ plan: P }, ApiError> {
  const socket = useSocket();
  return useQuery<{ plan: P }, ApiError>({
    queryKey: ['plan', method, params],
    queryFn: () => socket.call(method, { ...params, dry_run: true } as never) as unknown as Promise<{ plan: P }>,
    gcTime: 0,
  });
}

/** Follows a subscription while the component is there. */
export function useFollow<S extends SubscriptionName>(
  name: S,
  params: Subscriptions[S]['params'],
  item: (value: Subscriptions[S]['item']) => void,
  more: { enabled?: boolean; started?(): void } = {},
) {
  const socket = useSocket();
  const latest = useRef({ item, started: more.started });
  useEffect(() => {
    latest.current = { item, started: more.started };
  });
  const key = JSON.stringify(params);
  const enabled = more.enabled ?? true;
  useEffect(() => {
    if (!enabled) return;
    return socket.subscribe(name, JSON.parse(key), (value) => latest.current.item(value), {
      started: () => latest.current.started?.(),
    });
  }, [socket, name, key, enabled]);
}

/** Reads again what is on the screen and is one of these methods, or of one of these nouns. */
export function refresh(...nouns: string[]) {
  void queries.invalidateQueries({
    predicate: ({ queryKey: [method] }) => nouns.some((noun) => method === noun || String(method).startsWith(`${noun}.`)),
  });
}
