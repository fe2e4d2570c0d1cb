import type { Sr } from '../../api/generated';

/** Where an SR is, in words; `local` stands for the one that a host has by itself. */
export function where({ spec }: Sr, local: string): string {
  if (!spec) return local;
  return spec.kind === 'folder' ? spec.path : `${spec.server}:${spec.export}`;
}

/** How full, 0 to 1; nothing when no host has told. */
export function full({ space }: Sr): number | undefined {
  return space && space.total > 0 ? (space.total - space.free) / space.total : undefined;
}
