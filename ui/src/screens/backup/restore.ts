// What the form of a restore gathers, and the call that it becomes.

import type { Backup, RestoreBackup } from '../../api/generated';
import { VM_NAME } from '../../parts/fields';
import { flag, list, oneOf, record, text, type Kept } from '../../parts/kept';
import { mapped, type NetworkChoices } from '../../parts/networks';

export interface RestoreDraft {
  as: 'new_vm' | 'in_place' | 'disks';
  name: string;
  host: string;
  sr: string;
  networks: NetworkChoices;
  disks: string[];
  start: boolean;
  instant: boolean;
  /** The VM's name, where what is there is lost. */
  typed: string;
}

export const EMPTY_RESTORE: RestoreDraft = { as: 'new_vm', name: '', host: '', sr: '', networks: {}, disks: [], start: false, instant: false, typed: '' };

/** As the form of this backup comes: with all its disks. */
export const emptyRestore = (backup: Backup): RestoreDraft => ({ ...EMPTY_RESTORE, disks: backup.disks.map(({ name }) => name) });

/** The typed name stands in no address: whoever restores types it. Nor does a disk that this backup has not. */
export const keptOfRestore = (backup: Backup): Kept<RestoreDraft> => ({
  as: oneOf('new_vm', 'in_place', 'disks'),
  name: text,
  host: text,
  sr: text,
  networks: record,
  disks: { write: list.write, read: (said) => list.read(said)?.filter((disk) => backup.disks.some(({ name }) => name === disk)) },
  start: flag,
  instant: flag,
});

export function restoreParams(backup: Backup, draft: RestoreDraft): RestoreBackup {
  const some = draft.disks.length < backup.disks.length;
  const elsewhere = draft.as !== 'in_place';
  return {
    backup: backup.id,
    repository: backup.repository,
    target: draft.as === 'new_vm' ? { kind: 'new_vm', ...(draft.name ? { name: draft.name } : {}) } : { kind: draft.as },
    ...(some ? { disks: draft.disks } : {}),
    ...(draft.host && elsewhere ? { host: draft.host } : {}),
    ...(draft.sr && elsewhere ? { sr: draft.sr } : {}),
    ...(draft.as === 'new_vm' ? mapped(draft.networks) : {}),
    ...(draft.start && draft.as !== 'disks' ? { start: true } : {}),
    ...(draft.instant && draft.as === 'new_vm' ? { instant: true } : {}),
  };
}

export function restoreReady(backup: Backup, draft: RestoreDraft): boolean {
  if (draft.disks.length === 0) return false;
  if (draft.as === 'in_place') return draft.typed === backup.vm_name;
  return draft.as === 'disks' || draft.name === '' || VM_NAME.test(draft.name);
}
