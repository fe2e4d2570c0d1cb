// On a VM's summary: its hardware beyond processors and memory, its protection and the administrator's own fields.

import { Card, CardBody, CardHeader, CardTitle } from '@patternfly/react-core';
import { useState, type ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import type { Vm, VmSpec } from '../../api/generated';
import { Facts, type Fact } from '../../parts/Facts';
import { useFormat } from '../../parts/format';
import { WhyButton } from '../../parts/WhyButton';
import { EditHardware } from './EditHardware';
import { EditKept } from './EditKept';
import { useAll } from '../../list/all';

interface Props {
  vm: Vm;
  spec: VmSpec;
  /** Why it cannot be changed, marked. */
  why?: string;
}

/** A card of what can be changed in a dialog. */
export function Changeable({ title, why, change, children }: { title: string; why?: string; change(): void; children: ReactNode }) {
  const { t } = useTranslation();
  const actions = (
    <WhyButton variant="link" isInline aria-label={t('Change: {{what}}', { what: title })} why={why} go={change}>
      {t('Change')}
    </WhyButton>
  );
  return (
    <Card isCompact>
      <CardHeader actions={{ hasNoOffset: true, actions }}>
        <CardTitle component="h2">{title}</CardTitle>
      </CardHeader>
      <CardBody>{children}</CardBody>
    </Card>
  );
}

export function HardwareCard({ vm, spec, why }: Props) {
  const { t } = useTranslation();
  const format = useFormat();
  const [editing, setEditing] = useState(false);
  const { cpu, pci = [], cd, video, guest_agent: agent } = spec.hardware ?? {};
  const isos = useAll('iso.list', {}, { enabled: !!cd?.vdi });
  const medium = cd?.vdi && (isos.data?.find(({ id }) => id === cd.vdi)?.name ?? cd.vdi);
  return (
    <Changeable title={t('Hardware')} why={why} change={() => setEditing(true)}>
      <Facts
        facts={[
          [t('CPU weight'), cpu?.weight != null ? format.number(cpu.weight) : t('256, as all have it')],
          [t('CPU limit'), cpu?.cap != null ? t('{{percent}} of one CPU', { percent: format.percent(cpu.cap / 100) }) : t('none')],
          [t('Runs on the CPUs'), cpu?.pin ?? t('all')],
          spec.platform.kind === 'hvm' && [t('CD drive'), cd ? (medium ?? t('empty')) : t('none')],
          video != null && [t('Video card'), video.adapter],
          [t('Channel to the guest agent'), agent ? t('yes') : t('none')],
          [t('PCI devices'), pci.length ? pci.join(', ') : t('none')],
        ]}
      />
      {editing && <EditHardware vm={vm} spec={spec} close={() => setEditing(false)} />}
    </Changeable>
  );
}

export function KeptCard({ vm, why }: Omit<Props, 'spec'>) {
  const { t } = useTranslation();
  const [editing, setEditing] = useState(false);
  const against = [vm.protection?.delete && t('deleting'), vm.protection?.start && t('starting'), vm.protection?.migration && t('moving')].filter(Boolean);
  const own = Object.entries(vm.custom ?? {}).map(([name, value]): Fact => [name, value]);
  return (
    <Changeable title={t('Protection and fields')} why={why} change={() => setEditing(true)}>
      <Facts facts={[[t('Protected from'), against.length ? against.join(', ') : t('nothing')], ...own]} />
      {editing && <EditKept vm={vm} close={() => setEditing(false)} />}
    </Changeable>
  );
}
