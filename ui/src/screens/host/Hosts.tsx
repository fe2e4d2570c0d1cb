// The table of hosts.

import { Button, Dropdown, DropdownItem, DropdownList, MenuToggle } from '@patternfly/react-core';
import EllipsisIcon from '@patternfly/react-icons/dist/esm/icons/ellipsis-v-icon';
import ServerIcon from '@patternfly/react-icons/dist/esm/icons/server-icon';
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import type { Host } from '../../api/generated';
import { msg } from '../../i18n/msg';
import type { Column } from '../../list/columns';
import { ListView } from '../../list/ListView';
import { usePages } from '../../list/pages';
import { QueryBar } from '../../list/QueryBar';
import { useActs } from '../../parts/acts';
import { Nothing } from '../../parts/feedback';
import { useFormat, type Format } from '../../parts/format';
import { useNames } from '../../parts/names';
import { HostLabel } from '../../parts/state';
import { useUrlState } from '../../parts/url';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { AddHost } from './AddHost';
import { useHostVerbs } from './verbs';

function columns(format: Format, pool: (id: string) => string): Column<Host>[] {
  const used = (host: Host) => (host.facts ? host.facts.memory_total - host.facts.memory_free : 0);
  return [
    { key: 'name', header: msg('Name'), cell: (host) => <Link to={`/hosts/${host.id}`}>{host.name}</Link>, text: (host) => host.name },
    { key: 'status', header: msg('State'), width: 11, cell: (host) => <HostLabel status={host.status} maintenance={host.maintenance} />, text: (host) => host.status },
    { key: 'vms', header: msg('VMs'), width: 5, cell: (host) => format.number(host.vms), text: (host) => String(host.vms) },
    {
      key: 'memory',
      header: msg('Memory used'),
      width: 11,
      wide: true,
      cell: (host) => (host.facts ? `${format.mib(used(host))} / ${format.mib(host.facts.memory_total)}` : '—'),
      text: (host) => String(used(host)),
    },
    { key: 'cpus', header: msg('CPU threads'), width: 7, wide: true, cell: (host) => (host.facts ? format.number(host.facts.topology.cpus) : '—'), text: (host) => String(host.facts?.topology.cpus ?? '') },
    { key: 'pool', header: msg('Pool'), width: 8, wide: true, cell: (host) => pool(host.pool), text: (host) => pool(host.pool) },
    {
      key: 'xen',
      header: msg('Xen'),
      width: 7,
      wide: true,
      cell: (host) => (host.facts ? `${host.facts.xen.major}.${host.facts.xen.minor}${host.facts.xen.extra}` : '—'),
      text: (host) => (host.facts ? `${host.facts.xen.major}.${host.facts.xen.minor}` : ''),
    },
    { key: 'address', header: msg('Address'), width: 10, optional: true, cell: (host) => host.address, text: (host) => host.address },
    { key: 'agent', header: msg('Agent'), width: 7, optional: true, cell: (host) => host.agent_version ?? '—', text: (host) => host.agent_version ?? '' },
    { key: 'id', header: msg('Id'), optional: true, cell: (host) => <code>{host.id}</code>, text: (host) => host.id },
  ];
}

export default function Hosts() {
  const { t } = useTranslation();
  const user = useUser();
  const format = useFormat();
  const names = useNames();
  const made = useMemo(() => columns(format, names.pool), [format, names]);
  const [query, setQuery] = useUrlState('q');
  const [adding, setAdding] = useState(false);
  const pages = usePages('host.list', { filter: query ?? '' }, 5_000);
  const why = mayNot(user, 'host.add');
  const create = (
    <Button isAriaDisabled={!!why} title={why && t(why)} onClick={why ? undefined : () => setAdding(true)} data-create>
      {t('Add a host')}
    </Button>
  );
  return (
    <>
      <ListView
        title={t('Hosts')}
        noun="hosts"
        columns={made}
        pages={pages}
        id={(host) => host.id}
        name={(host) => host.name}
        filtered={!!query}
        clear={() => setQuery(null)}
        query={<QueryBar value={query ?? ''} set={setQuery} label={t('Filter hosts')} placeholder={t('A part of the name')} />}
        actions={(host) => <HostMenu host={host} />}
        menu
        create={create}
        empty={
          <Nothing icon={ServerIcon} title={t('No hosts yet')} action={create}>
            {t('A host is a machine that runs Xen. It joins with a token that works once.')}
          </Nothing>
        }
      />
      {adding && <AddHost close={() => setAdding(false)} />}
    </>
  );
}

export function HostMenu({ host, removed, labelled }: { host: Host; removed?: () => void; labelled?: boolean }) {
  const { t } = useTranslation();
  const user = useUser();
  const verbs = useHostVerbs();
  const { copy } = useActs();
  const [open, setOpen] = useState(false);
  const why = mayNot(user, 'host.remove');
  const params = { host: host.id, maintenance: !host.maintenance };
  const maintenance = host.maintenance ? t('End maintenance') : t('Begin maintenance');
  return (
    <Dropdown
      isOpen={open}
      onOpenChange={setOpen}
      onSelect={() => setOpen(false)}
      popperProps={{ position: 'right', appendTo: () => document.body }}
      toggle={(ref) => (
        <MenuToggle
          ref={ref}
          variant={labelled ? 'primary' : 'plain'}
          isExpanded={open}
          onClick={() => setOpen(!open)}
          aria-label={t('Actions for {{name}}', { name: host.name })}
          icon={labelled ? undefined : <EllipsisIcon />}
        >
          {labelled ? t('Actions') : undefined}
        </MenuToggle>
      )}
    >
      <DropdownList>
        <DropdownItem isAriaDisabled={!!why} description={why ? t(why) : t('It takes no new VMs while in maintenance.')} onClick={() => verbs.maintenance(host)}>
          {maintenance}
        </DropdownItem>
        <DropdownItem onClick={() => copy({ method: 'host.set_maintenance', params, title: `${maintenance}: ${host.name}` })}>{t('Copy as a command …')}</DropdownItem>
        <DropdownItem isDanger isAriaDisabled={!!why} description={why && t(why)} onClick={() => verbs.remove(host, removed)}>
          {t('Remove')}
        </DropdownItem>
      </DropdownList>
    </Dropdown>
  );
}
