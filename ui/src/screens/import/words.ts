import type { Import, ImportPhase } from '../../api/generated';
import { msg } from '../../i18n/msg';

type Color = 'green' | 'blue' | 'grey' | 'red' | 'orange';

export const PHASE: Record<ImportPhase, { label: string; color: Color }> = {
  preparing: { label: msg('Preparing'), color: 'blue' },
  uploading: { label: msg('Waits for the file'), color: 'orange' },
  copying: { label: msg('Copying'), color: 'blue' },
  following: { label: msg('Follows the source'), color: 'blue' },
  'cutting-over': { label: msg('Cutting over'), color: 'blue' },
  'waiting-for-shutdown': { label: msg('Waits for the shutdown'), color: 'orange' },
  'preparing-guest': { label: msg('Prepares the guest'), color: 'blue' },
  'not-prepared': { label: msg('Waits for a decision'), color: 'orange' },
  finishing: { label: msg('Finishing'), color: 'blue' },
  done: { label: msg('Done'), color: 'green' },
  'rolled-back': { label: msg('Rolled back'), color: 'grey' },
};

export const isOver = ({ phase }: Import): boolean => phase === 'done' || phase === 'rolled-back';

/** How much of all its disks is behind us, 0 to 1. */
export function progress({ disks }: Import): number {
  const total = disks.reduce((sum, disk) => sum + disk.capacity, 0);
  return total > 0 ? disks.reduce((sum, disk) => sum + disk.done, 0) / total : 0;
}

/** Where it comes from, in words. */
export function origin({ origin }: Import): string {
  return origin.kind === 'upload' ? origin.file : `${origin.source_name}: ${origin.vm_name}`;
}
