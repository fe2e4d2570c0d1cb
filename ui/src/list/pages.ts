// A list of the API, page after page: only what was scrolled to is here.

import { useInfiniteQuery, type InfiniteData } from '@tanstack/react-query';
import { useCallback, useEffect, useMemo } from 'react';
import { queries, useSocket } from '../api/client';
import type { ApiError } from '../api/errors';
import type { MethodName, Methods, Page } from '../api/generated';

/** The methods that answer pages. */
export type PagedMethod = {
  [M in MethodName]: Methods[M]['result'] extends Page<unknown> ? M : never;
}[MethodName];

export type RowOf<M extends PagedMethod> = Methods[M]['result'] extends Page<infer R> ? R : never;

const PAGE = 200;

export interface Pages<R> {
  rows: R[];
  total: number;
  pending: boolean;
  error: ApiError | null;
  more?: () => void;
  retry(): void;
  /** Everything that the filter lets through, for CSV. */
  everything(): Promise<R[]>;
}

export function usePages<M extends PagedMethod>(
  method: M,
  params: Omit<Methods[M]['params'], 'cursor' | 'limit'>,
  every?: number,
): Pages<RowOf<M>> {
  const socket = useSocket();
  const key = JSON.stringify(params);
  const ask = useCallback(
    (cursor: string | undefined, limit: number) =>
      socket.call(method, { ...JSON.parse(key), cursor, limit }) as unknown as Promise<Page<RowOf<M>>>,
    [socket, method, key],
  );
  const query = useInfiniteQuery<Page<RowOf<M>>, ApiError, InfiniteData<Page<RowOf<M>>>, unknown[], string | undefined>({
    queryKey: [method, 'pages', key],
    queryFn: ({ pageParam }) => ask(pageParam, PAGE),
    initialPageParam: undefined,
    getNextPageParam: (page) => page.next ?? undefined,
    placeholderData: (before) => before,
    refetchInterval: every ?? false,
  });
  const rows = useMemo(() => query.data?.pages.flatMap((page) => page.items) ?? [], [query.data]);
  const { hasNextPage, isFetching, fetchNextPage, refetch } = query;
  const more = useCallback(() => {
    if (hasNextPage && !isFetching) void fetchNextPage();
  }, [hasNextPage, isFetching, fetchNextPage]);
  // A page of a long log may end before the filter has let anything through.
  const searching = hasNextPage && rows.length === 0 && !query.error;
  useEffect(() => {
    if (searching) more();
  }, [searching, more]);
  const everything = useCallback(async () => {
    const all: RowOf<M>[] = [];
    let cursor: string | undefined;
    do {
      const page: Page<RowOf<M>> = await ask(cursor, 1000);
      all.push(...page.items);
      cursor = page.next ?? undefined;
    } while (cursor);
    return all;
  }, [ask]);
  return {
    rows,
    total: query.data?.pages[0]?.total ?? 0,
    pending: query.isPending || searching,
    error: query.error,
    more: hasNextPage ? more : undefined,
    retry: () => void refetch(),
    everything,
  };
}

/** Changes rows that are here, in every list of `method`, of which the filter is told; those elsewhere stay. */
export function patchRows<M extends PagedMethod>(
  method: M,
  change: (row: RowOf<M>, filter: string) => RowOf<M> | undefined,
) {
  for (const { queryKey } of queries.getQueryCache().findAll({ queryKey: [method, 'pages'] })) {
    const { filter = '' } = JSON.parse(String(queryKey[2])) as { filter?: string };
    queries.setQueryData<InfiniteData<Page<RowOf<M>>>>(queryKey, (data) => data && patched(data, (row) => change(row, filter)));
  }
}

function patched<R>(data: InfiniteData<Page<R>>, change: (row: R) => R | undefined): InfiniteData<Page<R>> {
  let touched = false;
  const pages = data.pages.map((page) => {
    let gone = 0;
    let changed = false;
    const items = page.items.flatMap((row) => {
      const after = change(row);
      if (after === undefined) gone += 1;
      if (after !== row) changed = true;
      return after === undefined ? [] : [after];
    });
    if (!changed) return page;
    touched = true;
    return { ...page, items, total: page.total - gone };
  });
  return touched ? { ...data, pages } : data;
}
