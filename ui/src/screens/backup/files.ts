// Where one is in a disk of a backup: `VOLUME:PATH`, as the API has it.

import { useInfiniteQuery, type InfiniteData } from '@tanstack/react-query';
import { useSocket } from '../../api/client';
import type { ApiError } from '../../api/errors';
import type { BackupFile, BackupFiles, ListBackupFiles } from '../../api/generated';
import type { Pages } from '../../list/pages';

/** The root of a volume. */
export const rootOf = (volume: string): string => `${volume}:/`;

/** What is called `name` in the folder at `at`. */
export function inside(at: string, name: string): string {
  return at.endsWith('/') ? `${at}${name}` : `${at}/${name}`;
}

/** The folders on the way to `at`, the volume first. */
export function crumbs(at: string): { name: string; at: string }[] {
  const colon = at.indexOf(':');
  const volume = colon < 0 ? at : at.slice(0, colon);
  const found = [{ name: volume, at: rootOf(volume) }];
  const parts = colon < 0 ? [] : at.slice(colon + 1).split('/').filter(Boolean);
  for (const name of parts) found.push({ name, at: inside((found.at(-1) as { at: string }).at, name) });
  return found;
}

/** The entries of a folder, as many as were scrolled to. */
export function useFiles(params: ListBackupFiles): Pages<BackupFile> {
  const socket = useSocket();
  const ask = (after: string | null) => socket.call('backup.files', { ...params, after });
  const next = (page: BackupFiles) => (page.more ? (page.entries.at(-1)?.name ?? null) : null);
  const query = useInfiniteQuery<BackupFiles, ApiError, InfiniteData<BackupFiles>, unknown[], string | null>({
    queryKey: ['backup.files', params],
    queryFn: ({ pageParam }) => ask(pageParam),
    initialPageParam: null,
    getNextPageParam: next,
    // A host reads it from the repository, and it does not change.
    staleTime: Infinity,
  });
  const rows = query.data?.pages.flatMap(({ entries }) => entries) ?? [];
  const everything = async () => {
    const all: BackupFile[] = [];
    let after: string | null = null;
    do {
      const page: BackupFiles = await ask(after);
      all.push(...page.entries);
      after = next(page);
    } while (after !== null);
    return all;
  };
  return {
    rows,
    total: rows.length,
    pending: query.isPending,
    error: query.error,
    more: query.hasNextPage && !query.isFetching && !query.isError ? () => void query.fetchNextPage() : undefined,
    retry: () => void query.refetch(),
    everything,
  };
}
