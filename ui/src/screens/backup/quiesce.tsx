// Whether guests hold their filesystems still while their disks are snapshotted: how it is asked for, and what came of it.

import { useTranslation } from 'react-i18next';
import type { Consistency, Quiesce } from '../../api/generated';
import { msg } from '../../i18n/msg';
import { ChoiceField } from '../../parts/fields';

export const QUIESCE: Record<Quiesce, string> = {
  try: msg('Those that can'),
  demand: msg('All: fail where one cannot'),
  never: msg('None'),
};

export const CONSISTENCY: Record<Consistency, string> = {
  'crash-consistent': msg('Crash-consistent'),
  'filesystem-consistent': msg('Filesystem-consistent'),
  offline: msg('Offline'),
};

export function QuiesceField({ id, value, set }: { id: string; value: Quiesce; set(quiesce: Quiesce): void }) {
  const { t } = useTranslation();
  return (
    <ChoiceField
      id={id}
      label={t('Quiesce guests')}
      value={value}
      set={(chosen) => set(chosen as Quiesce)}
      options={Object.entries(QUIESCE).map(([quiesce, label]) => [quiesce, t(label)])}
      help={t('By the QEMU guest agent: filesystems stand still while the snapshot is taken. Others are as after a power cut.')}
    />
  );
}

interface StoodProps {
  consistency?: Consistency | null;
  because?: string | null;
}

/** In which state a guest's disks are, and why they are no better. */
export function Stood({ consistency, because }: StoodProps) {
  const { t } = useTranslation();
  if (!consistency) return null;
  return (
    <span className="x-dim x-block x-wrap">
      {t(CONSISTENCY[consistency])}
      {because && `: ${because}`}
    </span>
  );
}
