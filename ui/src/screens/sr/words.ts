import type { Sr } from '../../api/generated';
import { msg } from '../../i18n/msg';

/** Where an SR is, in words; `local` stands for the one that a host has by itself. */
export function where({ spec }: Sr, local: string): string {
  if (!spec) return local;
  switch (spec.kind) {
    case 'folder':
      return spec.path;
    case 'nfs':
      return `${spec.server}:${spec.export}`;
    case 'lvm-thin':
      return spec.pool || (spec.disks ?? []).join(' ');
  }
}

/** What it is kept in, to be translated. */
export function kind({ spec }: Sr): string {
  if (!spec) return msg('The host’s own');
  switch (spec.kind) {
    case 'folder':
      return msg('Folder of one host');
    case 'nfs':
      return msg('NFS: a server’s folder, for several hosts');
    case 'lvm-thin':
      return spec.pool ? msg('Thin pool of LVM that one host has') : msg('Disks of one host, as a thin pool');
  }
}

/** How full, 0 to 1; nothing when no host has told. */
export function full({ space }: Sr): number | undefined {
  return space && space.total > 0 ? (space.total - space.free) / space.total : undefined;
}

/** Whether several hosts may have it: each of its disks is leased to one of them then (orchestrator/src/app/vdi_lease.rs). */
export const keepsLeases = ({ spec }: Sr): boolean => spec?.kind === 'folder' || spec?.kind === 'nfs';
