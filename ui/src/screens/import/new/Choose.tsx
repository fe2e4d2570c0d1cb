// Which VMs of the source.

import { SearchInput } from '@patternfly/react-core';
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useRead } from '../../../api/client';
import type { SourceVm } from '../../../api/generated';
import { msg } from '../../../i18n/msg';
import type { Column } from '../../../list/columns';
import { VirtualTable } from '../../../list/VirtualTable';
import { ErrorBox, Loading } from '../../../parts/feedback';
import { useFormat } from '../../../parts/format';
import type { StepProps } from './NewImport';

const POWER: Record<string, string> = { on: msg('Running'), off: msg('Stopped'), suspended: msg('Suspended') };

export function Choose({ draft, set }: StepProps) {
  const { t } = useTranslation();
  const format = useFormat();
  const [words, setWords] = useState('');
  const read = useRead('import.inventory', { source: draft.source });
  const columns = useMemo((): Column<SourceVm>[] => [
    { key: 'name', header: msg('Name'), cell: (vm) => vm.name, text: (vm) => vm.name },
    { key: 'power', header: msg('State'), width: 7, cell: (vm) => t(POWER[vm.power] ?? vm.power), text: (vm) => vm.power },
    { key: 'os', header: msg('Operating system'), wide: true, cell: (vm) => vm.os || '—', text: (vm) => vm.os },
    { key: 'vcpus', header: msg('vCPUs'), width: 5, wide: true, cell: (vm) => format.number(vm.vcpus), text: (vm) => String(vm.vcpus) },
    { key: 'memory', header: msg('Memory'), width: 7, wide: true, cell: (vm) => format.mib(vm.memory_mib), text: (vm) => String(vm.memory_mib) },
    { key: 'transfer', header: msg('To move'), width: 7, cell: (vm) => format.mib(vm.transfer_mib), text: (vm) => String(vm.transfer_mib) },
  ], [format, t]);
  if (read.isPending) return <Loading />;
  if (read.isError) return <ErrorBox error={read.error} retry={() => void read.refetch()} />;
  const wanted = words.toLocaleLowerCase();
  const rows = read.data.filter((vm) => !vm.template && `${vm.name} ${vm.os} ${vm.host}`.toLocaleLowerCase().includes(wanted));
  return (
    <div className="x-list x-fill">
      <SearchInput aria-label={t('Filter VMs')} placeholder={t('A part of the name')} value={words} onChange={(_event, value) => setWords(value)} onClear={() => setWords('')} resetButtonLabel={t('Clear the filter')} />
      <p className="x-dim" aria-live="polite">
        {t('{{chosen}} of {{total}} chosen, {{size}} to move', { chosen: draft.vms.length, total: read.data.length, size: format.mib(draft.vms.reduce((sum, vm) => sum + vm.transfer_mib, 0)) })}
      </p>
      <VirtualTable
        label={t('VMs at the source')}
        columns={columns}
        rows={rows}
        id={(vm) => vm.id}
        name={(vm) => vm.name}
        total={rows.length}
        selection={{ chosen: new Map(draft.vms.map((vm) => [vm.id, vm])), set: (chosen) => set({ vms: [...chosen.values()] }) }}
      />
    </div>
  );
}
