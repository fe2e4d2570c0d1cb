// A list of the API, page after page: only what is near to what is in sight is here.
//
// What always holds: of a list of any length some thousand rows are kept. What was scrolled past is dropped and read
// again on the way back, from where its page began. So memory, and what reading all of it again costs, do not grow with
// how far somebody scrolls.

import { useInfiniteQuery, type InfiniteData } from '@tanstack/react-query';
import { useCallback, useEffect, useMemo, useRef } from 'react';
import { queries, useSocket } from '../api/client';
import type { ApiError } from '../api/errors';
import type { MethodName, Methods, Page } from '../api/generated';

/** The methods that answer pages. */
export type PagedMethod = {
  [M in MethodName]: Methods[M]['result'] extends Page<unknown> ? M : never;
}[MethodName];

export type RowOf<M extends PagedMethod> = Methods[M]['result'] extends Page<infer R> ? R : never;

const PAGE = 200;
/** Many screens of rows, so that a page that comes at one end never drops one that is in sight at the other. */
const KEPT = 2000;

/** Where a page begins: its cursor, how many rows are before it, and the page before it for the way back. */
export interface Mark {
  cursor: string | undefined;
  start: number;
  before?: Mark;
}

const FIRST: Mark = { cursor: undefined, start: 0 };

type Shown<R> = InfiniteData<Page<R>, Mark>;

/** The last page on the way back that begins before row `index`. */
export function markOf(index: number, from: Mark): Mark {
  let mark = from;
  while (mark.before && mark.start > index) mark = mark.before;
  return mark;
}

/** How many pages are kept: all of them until there are rows enough, then no more than that. */
export function mostPages(pages: Page<unknown>[] | undefined): number | undefined {
  const rows = pages?.reduce((sum, page) => sum + page.items.length, 0) ?? 0;
  return rows >= KEPT ? pages?.length : undefined;
}

export interface Pages<R> {
  rows: R[];
  /** So many are before them, and not here; without it there are none. */
  offset?: number;
  total: number;
  pending: boolean;
  error: ApiError | null;
  more?: () => void;
  /** Brings what is about row `index` of those before. */
  back?: (index: number) => void;
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
  const queryKey = useMemo(() => [method, 'pages', key], [method, key]);
  const query = useInfiniteQuery<Page<RowOf<M>>, ApiError, Shown<RowOf<M>>, unknown[], Mark>({
    queryKey,
    queryFn: ({ pageParam }) => ask(pageParam.cursor, PAGE),
    initialPageParam: FIRST,
    getNextPageParam: (page, _all, mark) => (page.next ? { cursor: page.next, start: mark.start + page.items.length, before: mark } : undefined),
    getPreviousPageParam: (_page, _all, mark) => mark.before,
    maxPages: mostPages(queries.getQueryData<Shown<RowOf<M>>>(queryKey)?.pages),
    placeholderData: (before) => before,
    refetchInterval: every ?? false,
  });
  const rows = useMemo(() => query.data?.pages.flatMap((page) => page.items) ?? [], [query.data]);
  const { hasNextPage, isFetching, fetchNextPage, fetchPreviousPage, refetch } = query;
  const first = query.data?.pageParams[0];
  const more = useCallback(() => {
    if (hasNextPage && !isFetching) void fetchNextPage();
  }, [hasNextPage, isFetching, fetchNextPage]);
  const jumping = useRef(false);
  const back = useCallback(
    (index: number) => {
      const before = first?.before;
      if (!before || isFetching || jumping.current) return;
      if (index >= before.start) return void fetchPreviousPage();
      // Far back: begin anew there, rather than read everything between.
      jumping.current = true;
      const mark = markOf(index, before);
      ask(mark.cursor, PAGE)
        .then(
          (page) => queries.setQueryData<Shown<RowOf<M>>>(queryKey, { pages: [page], pageParams: [mark] }),
          // The next row that comes into sight asks again.
          () => undefined,
        )
        .finally(() => (jumping.current = false));
    },
    [first, isFetching, fetchPreviousPage, ask, queryKey],
  );
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
    offset: first?.start ?? 0,
    more: hasNextPage ? more : undefined,
    back: first?.before ? back : undefined,
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
