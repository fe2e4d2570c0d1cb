// VMs that leave a host take disks along that no other host reaches only where somebody asks for it: that may be hours of
// copying (docs/adr/0083-moving-disks.md).

import { Checkbox } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';

interface Props {
  id: string;
  on: boolean;
  set(on: boolean): void;
  /** They come back afterwards. */
  back?: boolean;
}

export function MoveDisks({ id, on, set, back }: Props) {
  const { t } = useTranslation();
  const there = t('They are copied to the other host’s own storage while their VMs run. That may take hours.');
  const both = t('They are copied to the other host’s own storage while their VMs run, and back afterwards. That may take hours.');
  return <Checkbox id={id} label={t('Take disks along that no other host reaches')} description={back ? both : there} isChecked={on} onChange={(_event, on) => set(on)} />;
}

/** As the API takes it: nothing where they stay. */
export const movingDisks = (on: boolean): { move_disks?: boolean } => (on ? { move_disks: true } : {});
