// What the form of a restore gathers, and the call that it becomes.

import type { Backup, RestoreBackup } from '../../api/generated';
import { VM_NAME } from '../../parts/fields';

export interface RestoreDraft {
  as: 'new_vm' | 'in_place' | 'disks';
  name: string;
  host: string;
  disks: string[];
  start: boolean;
  instant: boolean;
  /** The VM's name, where what is there is lost. */
  typed: string;
}

export const EMPTY_RESTORE: RestoreDraft = { as: 'new_vm', name: '', host: '', disks: [], start: false, instant: false, typed: '' };

export function restoreParams(backup: Backup, draft: RestoreDraft): RestoreBackup {
  const some = draft.disks.length < backup.disks.length;
  return {
    backup: backup.id,
    repository: backup.repository,
    target: draft.as === 'new_vm' ? { kind: 'new_vm', ...(draft.name ? { name: draft.name } : {}) } : { kind: draft.as },
    ...(some ? { disks: draft.disks } : {}),
    ...(draft.host && draft.as !== 'in_place' ? { host: draft.host } : {}),
    ...(draft.start && draft.as !== 'disks' ? { start: true } : {}),
    ...(draft.instant && draft.as === 'new_vm' ? { instant: true } : {}),
  };
}

export function restoreReady(backup: Backup, draft: RestoreDraft): boolean {
  if (draft.disks.length === 0) return false;
  if (draft.as === 'in_place') return draft.typed === backup.vm_name;
  return draft.as === 'disks' || draft.name === '' || VM_NAME.test(draft.name);
}
