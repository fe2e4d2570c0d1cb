// The state of a screen, in its address: a link shows somebody else the same.

import { useCallback, useSyncExternalStore } from 'react';
import { useSearchParams } from 'react-router';

export function useUrlState(name: string): [string | null, (value: string | null) => void] {
  const [params, setParams] = useSearchParams();
  const set = useCallback(
    (value: string | null) =>
      setParams(
        (before) => {
          const after = new URLSearchParams(before);
          if (value) after.set(name, value);
          else after.delete(name);
          return after;
        },
        { replace: true },
      ),
    [name, setParams],
  );
  return [params.get(name), set];
}

/** Takes several out of the address at once; one after the other, the last would bring the others back. */
export function useUrlClear(...names: string[]): () => void {
  const [, setParams] = useSearchParams();
  return () =>
    setParams(
      (before) => {
        const after = new URLSearchParams(before);
        names.forEach((name) => after.delete(name));
        return after;
      },
      { replace: true },
    );
}

export function useMedia(query: string): boolean {
  return useSyncExternalStore(
    (changed) => {
      const media = matchMedia(query);
      media.addEventListener('change', changed);
      return () => media.removeEventListener('change', changed);
    },
    () => matchMedia(query).matches,
  );
}

export const useNarrow = () => useMedia('(max-width: 767px)');
