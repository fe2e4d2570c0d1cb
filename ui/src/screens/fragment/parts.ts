// Fragments by id: their names, and what they say.

import { useQueries } from '@tanstack/react-query';
import { useMemo } from 'react';
import { useSocket } from '../../api/client';
import type { Fragment } from '../../api/generated';
import { useAll } from '../../list/all';

/** Those that there are, in the order of their names, and the name of each. */
export function useFragments(): { all: Fragment[]; name(id: string): string } {
  const read = useAll('fragment.list', {});
  return useMemo(() => {
    const all = [...(read.data ?? [])].sort((a, b) => a.name.localeCompare(b.name));
    const known = new Map(all.map(({ id, name }) => [id, name]));
    return { all, name: (id: string) => known.get(id) ?? id.slice(0, 8) };
  }, [read.data]);
}

/** One of several that make up user data. */
export interface Part {
  id: string;
  name: string;
  /** Not here yet, or not to be read by who asks. */
  text?: string;
}

/** What the fragments with these ids say, in their order. */
export function useFragmentParts(ids: string[]): Part[] {
  const socket = useSocket();
  const { name } = useFragments();
  const found = useQueries({
    queries: ids.map((fragment) => ({
      queryKey: ['fragment.get', { fragment }],
      queryFn: () => socket.call('fragment.get', { fragment }),
    })),
  });
  return ids.map((id, at) => ({ id, name: name(id), text: found[at]?.data?.user_data }));
}
