// A list of VMs that changes by itself. Rows that are here are changed in place at once; what comes, goes or moves
// makes the pages be read again, soon but not for each of a thousand changes.

import { useEffect, useRef } from 'react';
import { refresh, useFollow } from '../../api/client';
import type { VmRow, VmRowChange } from '../../api/generated';
import { patchRows } from '../../list/pages';

const GATHER_MS = 100;
const AGAIN_MS = 700;

export function useLiveVms(filter: string, sort: string) {
  const changed = useRef(new Map<string, VmRow | undefined>());
  const gather = useRef<ReturnType<typeof setTimeout>>(undefined);
  const again = useRef<ReturnType<typeof setTimeout>>(undefined);

  const readAgain = () => {
    again.current ??= setTimeout(() => {
      again.current = undefined;
      refresh('vm');
    }, AGAIN_MS);
  };
  const apply = () => {
    gather.current = undefined;
    const changes = changed.current;
    changed.current = new Map();
    const field = (sort.replace(/^-/, '') || 'name') as keyof VmRow;
    let moved = false;
    patchRows('vm.list', (row) => {
      if (!changes.has(row.id)) return row;
      const after = changes.get(row.id);
      if (after && String(after[field]) !== String(row[field])) moved = true;
      return after;
    });
    if (moved) readAgain();
  };
  const take = (change: VmRowChange) => {
    if (change.kind === 'ready') return;
    if (change.kind === 'resync') return readAgain();
    if (change.kind === 'removed') changed.current.set(change.value, undefined);
    else changed.current.set(change.value.id, change.value);
    if (change.kind === 'added') readAgain();
    gather.current ??= setTimeout(apply, GATHER_MS);
  };
  useFollow('vm.subscribe', { filter, only_changes: true }, take, { started: () => refresh('vm') });
  useEffect(
    () => () => {
      clearTimeout(gather.current);
      clearTimeout(again.current);
      gather.current = again.current = undefined;
    },
    [],
  );
}
