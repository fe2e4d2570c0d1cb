// Where the VMs of a host would go, line by line, and how much of disks goes along.

import { ListItem } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';
import type { EvacuatedVm } from '../../api/generated';
import { useFormat } from '../../parts/format';

export function Moves({ vms }: { vms: EvacuatedVm[] }) {
  const { t } = useTranslation();
  const format = useFormat();
  const line = (vm: EvacuatedVm) => {
    const words = { vm: vm.name, host: vm.to_name ?? '—', size: format.bytes(vm.disk_bytes ?? 0) };
    return vm.disk_bytes ? t('{{vm}} moves to {{host}}, with {{size}} of disks', words) : t('{{vm}} moves to {{host}}', words);
  };
  return (
    <>
      {vms.map((vm) => (
        <ListItem key={vm.vm}>{line(vm)}</ListItem>
      ))}
    </>
  );
}

/** Of all that go, in bytes. */
export const copied = (vms: EvacuatedVm[]): number => vms.reduce((sum, vm) => sum + (vm.disk_bytes ?? 0), 0);
