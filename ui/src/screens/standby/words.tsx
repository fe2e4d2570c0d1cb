// Standbys in words: what they can do now, and what would be lost.

import { Label, Spinner } from '@patternfly/react-core';
import CheckIcon from '@patternfly/react-icons/dist/esm/icons/check-icon';
import WarningIcon from '@patternfly/react-icons/dist/esm/icons/exclamation-triangle-icon';
import { useTranslation } from 'react-i18next';
import type { Standby, StandbyStatus } from '../../api/generated';
import { msg } from '../../i18n/msg';

const STATUS: Record<StandbyStatus, { label: string; color: 'green' | 'blue' | 'orange'; icon: React.ReactNode }> = {
  ready: { label: msg('Can take over'), color: 'green', icon: <CheckIcon /> },
  busy: { label: msg('Being worked on'), color: 'blue', icon: <Spinner size="sm" aria-hidden /> },
  incomplete: { label: msg('Incomplete'), color: 'orange', icon: <WarningIcon /> },
};

export function StandbyLabel({ status }: { status: StandbyStatus }) {
  const { t } = useTranslation();
  const { label, color, icon } = STATUS[status];
  return (
    <Label isCompact variant="outline" color={color} icon={icon}>
      {t(label)}
    </Label>
  );
}

/** Seconds of work that would be lost if it took over now; nothing where it holds no backup. */
export function lost({ backup_created }: Pick<Standby, 'backup_created'>, now = Date.now()): number | undefined {
  return backup_created ? Math.max(0, (now - Date.parse(backup_created)) / 1000) : undefined;
}

/** There is a newer backup than the one that it holds. */
export const isBehind = ({ backup_created, newest }: Pick<Standby, 'backup_created' | 'newest'>): boolean => !!newest && (!backup_created || Date.parse(newest) > Date.parse(backup_created));
