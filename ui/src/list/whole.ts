// Short lists that the API gives as a whole, as pages.

import { useMemo } from 'react';
import type { UseQueryResult } from '@tanstack/react-query';
import type { ApiError } from '../api/errors';
import type { Pages } from './pages';

/** Those in whose text every one of the words is. */
export function useWhole<R>(read: UseQueryResult<R[], ApiError>, words: string, text: (row: R) => string): Pages<R> {
  const { data, isPending, error, refetch } = read;
  return useMemo(() => {
    const wanted = words.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    const rows = (data ?? []).filter((row) => {
      const lower = text(row).toLocaleLowerCase();
      return wanted.every((word) => lower.includes(word));
    });
    return { rows, total: rows.length, pending: isPending, error, retry: () => void refetch(), everything: () => Promise.resolve(rows) };
  }, [data, isPending, error, refetch, words, text]);
}
