import { Link } from 'react-router';
import type { VmRow } from '../../api/generated';
import { msg } from '../../i18n/msg';
import type { Column } from '../../list/columns';
import type { Format } from '../../parts/format';
import { PowerLabel, Tags } from '../../parts/state';

export function vmColumns(format: Format): Column<VmRow>[] {
  return [
    {
      key: 'name',
      header: msg('Name'),
      sort: 'name',
      cell: (vm) => <Link to={`/vms/${vm.id}`}>{vm.name}</Link>,
      text: (vm) => vm.name,
    },
    { key: 'power', header: msg('State'), width: 8.25, sort: 'power', cell: (vm) => <PowerLabel power={vm.power} />, text: (vm) => vm.power },
    {
      key: 'host',
      header: msg('Host'),
      width: 8,
      sort: 'host',
      wide: true,
      cell: (vm) => (vm.host ? <Link to={`/hosts/${vm.host}`}>{vm.host_name}</Link> : '—'),
      text: (vm) => vm.host_name ?? '',
    },
    { key: 'pool', header: msg('Pool'), width: 8, sort: 'pool', optional: true, cell: (vm) => vm.pool ?? '—', text: (vm) => vm.pool ?? '' },
    { key: 'memory', header: msg('Memory'), width: 7, sort: 'memory', cell: (vm) => format.mib(vm.memory), text: (vm) => String(vm.memory), wide: true },
    { key: 'vcpus', header: msg('vCPUs'), width: 6.25, sort: 'vcpus', cell: (vm) => format.number(vm.vcpus), text: (vm) => String(vm.vcpus), wide: true },
    { key: 'kind', header: msg('Kind'), width: 6, sort: 'kind', optional: true, cell: (vm) => vm.kind.toUpperCase(), text: (vm) => vm.kind },
    {
      key: 'addresses',
      header: msg('Addresses'),
      wide: true,
      cell: (vm) => vm.addresses.join(', ') || '—',
      text: (vm) => vm.addresses.join(' '),
    },
    { key: 'os', header: msg('Operating system'), sort: 'os', optional: true, cell: (vm) => vm.os ?? '—', text: (vm) => vm.os ?? '' },
    { key: 'tags', header: msg('Tags'), wide: true, cell: (vm) => <Tags tags={vm.tags} />, text: (vm) => vm.tags.join(' ') },
    { key: 'id', header: msg('Id'), optional: true, cell: (vm) => <code>{vm.id}</code>, text: (vm) => vm.id },
  ];
}
