// The words of backups, and their sums.

import { Label, Spinner } from '@patternfly/react-core';
import BanIcon from '@patternfly/react-icons/dist/esm/icons/ban-icon';
import CheckIcon from '@patternfly/react-icons/dist/esm/icons/check-icon';
import ExclamationIcon from '@patternfly/react-icons/dist/esm/icons/exclamation-circle-icon';
import PendingIcon from '@patternfly/react-icons/dist/esm/icons/pending-icon';
import { useTranslation } from 'react-i18next';
import type { Backup, BackupRun, RunStatus, RunVm } from '../../api/generated';
import { msg } from '../../i18n/msg';

const STATUS: Record<RunStatus, { label: string; color: 'green' | 'blue' | 'grey' | 'red' | 'orange'; icon: React.ReactNode }> = {
  waiting: { label: msg('Waiting'), color: 'grey', icon: <PendingIcon /> },
  running: { label: msg('Running'), color: 'blue', icon: <Spinner size="sm" aria-hidden /> },
  done: { label: msg('Done'), color: 'green', icon: <CheckIcon /> },
  failed: { label: msg('Failed'), color: 'red', icon: <ExclamationIcon /> },
  cancelled: { label: msg('Cancelled'), color: 'orange', icon: <BanIcon /> },
};

export function RunLabel({ status }: { status: RunStatus }) {
  const { t } = useTranslation();
  const { label, color, icon } = STATUS[status];
  return (
    <Label isCompact variant="outline" color={color} icon={icon}>
      {t(label)}
    </Label>
  );
}

export const runOver = (status: RunStatus): boolean => status !== 'waiting' && status !== 'running';

export interface Sum {
  size: number;
  read: number;
  new_bytes: number;
  stored: number;
  millis: number;
}

const NOTHING: Sum = { size: 0, read: 0, new_bytes: 0, stored: 0, millis: 0 };

export function sum(parts: Partial<Sum>[]): Sum {
  const add = (a: number, b?: number) => a + (b ?? 0);
  return parts.reduce<Sum>(
    (all, part) => ({
      size: add(all.size, part.size),
      read: add(all.read, part.read),
      new_bytes: add(all.new_bytes, part.new_bytes),
      stored: add(all.stored, part.stored),
      millis: add(all.millis, part.millis),
    }),
    NOTHING,
  );
}

export const ofRun = (run: BackupRun): Sum => sum(run.vms);
export const ofBackup = (backup: Backup): Sum => sum(backup.disks);

/** What did not have to be stored, of all that the disks hold: 0 to 1. */
export const saved = ({ size, stored }: Sum): number | undefined => (size > 0 ? Math.max(0, 1 - stored / size) : undefined);

/** Bytes read in a second. */
export const speed = ({ read, millis }: Pick<Sum, 'read' | 'millis'>): number | undefined => (millis > 0 ? (read * 1000) / millis : undefined);

/** How many of a run's VMs are over, and how they ended. */
export function counts(vms: RunVm[]) {
  const of = (status: RunStatus) => vms.filter((vm) => vm.status === status).length;
  return { over: vms.filter((vm) => runOver(vm.status)).length, failed: of('failed'), done: of('done'), all: vms.length };
}
