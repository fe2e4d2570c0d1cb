// A list that changes by itself. Rows that are here are changed in place at once; what comes, goes or moves makes the
// pages be read again, soon but not for each of a thousand changes.

import { useEffect, useRef } from 'react';
import { queries, refresh, useFollow } from '../api/client';
import type { Host, HostChange, Page, Vdi, VdiChange, VmRow, VmRowChange } from '../api/generated';
import { patchRows } from '../list/pages';
import { Again } from './again';

/** For changes that come together: they are drawn at once. */
export const GATHER_MS = 50;

interface Rows {
  vm: VmRow;
  host: Host;
  vdi: Vdi;
}
type Noun = keyof Rows;
type Change = VmRowChange | HostChange | VdiChange;

/** What is shown of single things, and of lists that are read as a whole. */
function patchReads<N extends Noun>(noun: N, filter: string, changes: Map<string, Rows[N] | undefined>) {
  for (const query of queries.getQueryCache().findAll({ queryKey: [`${noun}.list`] })) {
    const data = query.state.data as Page<Rows[N]> | { pages: unknown } | undefined;
    if (!data || !('items' in data)) continue;
    const own = ((query.queryKey[1] as { filter?: string } | undefined)?.filter ?? '') === filter;
    const items = data.items.flatMap((row) => {
      if (!changes.has(row.id)) return [row];
      const after = changes.get(row.id);
      // One that left this filter may well pass another.
      return after ? [after] : own ? [] : [row];
    });
    queries.setQueryData(query.queryKey, { ...data, items, total: data.total - (data.items.length - items.length) });
  }
  // A row does not tell who may write a disk: whoever looks at one reads it again.
  if (noun === 'vdi') {
    const looked = ([method, params]: readonly unknown[]) => method === 'vdi.get' && changes.has((params as { vdi: string }).vdi);
    return void queries.invalidateQueries({ predicate: ({ queryKey }) => looked(queryKey) });
  }
  if (noun === 'vm') return;
  changes.forEach((row) => row && queries.setQueryData([`${noun}.get`, { [noun]: row.id }], row));
}

/** Keeps lists of `noun` true while the component is there; `enabled` when there is something to follow. */
export function useLiveRows<N extends Noun>(noun: N, filter: string, sort = '', enabled = true) {
  const changed = useRef(new Map<string, Rows[N] | undefined>());
  const gather = useRef<ReturnType<typeof setTimeout>>(undefined);
  const again = useRef<Again>(undefined);
  again.current ??= new Again();
  const readAgain = () => again.current?.ask(noun);
  const apply = () => {
    gather.current = undefined;
    const changes = changed.current;
    changed.current = new Map();
    const field = sort.replace(/^-/, '') || 'name';
    const value = (row: unknown) => String((row as Record<string, unknown>)[field]);
    let moved = false;
    patchRows(`${noun}.list` as 'vm.list', (before, of) => {
      if (!changes.has(before.id)) return before;
      const after = changes.get(before.id) as VmRow | undefined;
      if (!after && of !== filter) return before;
      if (after && (!(field in before) || value(after) !== value(before))) moved = true;
      return after;
    });
    patchReads(noun, filter, changes);
    if (moved) readAgain();
  };
  const take = (change: Change) => {
    if (change.kind === 'ready' || change.kind === 'seen') return;
    if (change.kind === 'resync') return readAgain();
    if (change.kind === 'removed') changed.current.set(change.value, undefined);
    else changed.current.set(change.value.id, change.value as Rows[N]);
    if (change.kind === 'added') readAgain();
    gather.current ??= setTimeout(apply, GATHER_MS);
  };
  useFollow(`${noun}.subscribe`, { filter, only_changes: true }, take, { enabled, started: () => refresh(noun) });
  useEffect(
    () => () => {
      clearTimeout(gather.current);
      gather.current = undefined;
      again.current?.stop();
    },
    [],
  );
}
