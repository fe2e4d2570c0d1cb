// Lists that a screen needs as a whole: every page of them.

import { useQuery, type UseQueryResult } from '@tanstack/react-query';
import { useSocket, type ReadOptions } from '../api/client';
import type { ApiError } from '../api/errors';
import type { Methods, Page } from '../api/generated';
import type { Socket } from '../api/socket';
import type { PagedMethod, RowOf } from './pages';

type Params<M extends PagedMethod> = Omit<Methods[M]['params'], 'cursor' | 'limit'>;

export async function all<M extends PagedMethod>(socket: Socket, method: M, params: Params<M>): Promise<RowOf<M>[]> {
  const rows: RowOf<M>[] = [];
  let cursor: string | undefined;
  do {
    const asked = { ...params, cursor, limit: 1000 } as unknown as Methods[M]['params'];
    const page = (await socket.call(method, asked)) as unknown as Page<RowOf<M>>;
    rows.push(...page.items);
    cursor = page.next ?? undefined;
  } while (cursor);
  return rows;
}

/** All of a list, kept fresh. */
export function useAll<M extends PagedMethod>(
  method: M,
  params: Params<M>,
  { enabled = true, every }: ReadOptions = {},
): UseQueryResult<RowOf<M>[], ApiError> {
  const socket = useSocket();
  return useQuery<RowOf<M>[], ApiError>({
    queryKey: [method, 'all', params],
    queryFn: () => all(socket, method, params),
    enabled,
    refetchInterval: every ?? false,
    refetchIntervalInBackground: false,
  });
}
