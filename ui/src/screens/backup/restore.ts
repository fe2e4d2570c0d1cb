// What the form of a restore gathers, and the call that it becomes.

import type { Backup, RestoreBackup } from '../../api/generated';
import { VM_NAME } from '../../parts/fields';
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
