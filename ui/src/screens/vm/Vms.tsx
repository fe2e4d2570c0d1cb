// The table of VMs: filtered, sorted and paged by the orchestrator, live.

import { Button, Dropdown, DropdownItem, DropdownList, MenuToggle } from '@patternfly/react-core';
import MachineIcon from '@patternfly/react-icons/dist/esm/icons/virtual-machine-icon';
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import type { VmRow } from '../../api/generated';
import { Bulk } from '../../list/Bulk';
import { ListView } from '../../list/ListView';
import { usePages } from '../../list/pages';
import { QueryBar } from '../../list/QueryBar';
import { Nothing } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { useUrlState } from '../../parts/url';
import { mayNot } from '../../rules/may';
import { VM_VERBS, vmCannot, verbParams, type VerbInfo } from '../../rules/vm';
import { useUser } from '../../shell/user';
import { MetricsLink } from '../metrics/MetricsLink';
import { vmColumns } from './columns';
import { useLiveRows } from '../../live/rows';
import { VmMenu } from './VmMenu';

interface Props {
  /** Shown within another page: only VMs that pass this, too. */
  within?: string;
  title?: string;
}

export default function Vms({ within, title }: Props) {
  const { t } = useTranslation();
  const user = useUser();
  const navigate = useNavigate();
  const format = useFormat();
  const columns = useMemo(() => vmColumns(format), [format]);
  const [query, setQuery] = useUrlState('q');
  const [sort, setSort] = useUrlState('sort');
  const [chosen, setChosen] = useState(new Map<string, VmRow>());
  const [bulk, setBulk] = useState<{ verb: VerbInfo; vms: VmRow[] }>();
  const filter = within ? (query ? `${within} (${query})` : within) : (query ?? '');
  const pages = usePages('vm.list', { filter, sort: sort ?? '' });
  useLiveRows('vm', filter, sort ?? '');
  const cannot = mayNot(user, 'vm.create');
  const create = (
    <Button isAriaDisabled={!!cannot} title={cannot && t(cannot)} onClick={cannot ? undefined : () => void navigate('/vms/new')} data-create>
      {t('Create a VM')}
    </Button>
  );
  // What was selected may have changed meanwhile.
  const current = (vm: VmRow) => pages.rows.find((row) => row.id === vm.id) ?? vm;
  return (
    <>
      <ListView
        title={title ?? t('Virtual machines')}
        heading={within ? 'h2' : 'h1'}
        noun="vms"
        columns={columns}
        pages={pages}
        id={(vm) => vm.id}
        name={(vm) => vm.name}
        filtered={!!query}
        clear={() => setQuery(null)}
        sort={sort ?? ''}
        setSort={setSort}
        query={
          <QueryBar
            value={query ?? ''}
            set={setQuery}
            complete="vm.complete"
            label={t('Filter VMs')}
            placeholder={t('Filter: power:running tag:prod memory:>4GiB, or words')}
          />
        }
        selection={{ chosen, set: setChosen }}
        bulk={<BulkMenu choose={(verb) => setBulk({ verb, vms: [...chosen.values()].map(current) })} />}
        actions={(vm) => <VmMenu vm={vm} />}
        menu
        extra={<MetricsLink of="vm" filter={filter} />}
        create={within ? undefined : create}
        empty={
          <Nothing icon={MachineIcon} title={within ? t('No VMs here') : t('No VMs yet')}>
            {within ? t('VMs that are placed on this host appear here.') : t('Create one, deploy one from a template, or take yours over from VMware, under Imports.')}{' '}
            {!within && cannot && <span>{t(cannot)}</span>}
          </Nothing>
        }
      />
      {bulk && (
        <Bulk
          title={t('{{verb}}: {{count}} VMs', { verb: t(bulk.verb.label), count: bulk.vms.length })}
          text={bulk.verb.danger ? t('This cannot be taken back.') : undefined}
          button={t(bulk.verb.label)}
          danger={bulk.verb.danger}
          method={bulk.verb.method}
          params={(id) => verbParams(bulk.verb.method, { id })}
          items={bulk.vms.map((vm) => ({ id: vm.id, name: vm.name, cannot: vmCannot(user, bulk.verb.method, vm) }))}
          close={() => {
            setBulk(undefined);
            setChosen(new Map());
          }}
        />
      )}
    </>
  );
}

function BulkMenu({ choose }: { choose: (verb: VerbInfo) => void }) {
  const { t } = useTranslation();
  const [open, setOpen] = useState(false);
  return (
    <Dropdown
      isOpen={open}
      onOpenChange={setOpen}
      onSelect={() => setOpen(false)}
      toggle={(ref) => (
        <MenuToggle ref={ref} isExpanded={open} onClick={() => setOpen(!open)}>
          {t('With the selected')}
        </MenuToggle>
      )}
    >
      <DropdownList>
        {VM_VERBS.map((verb) => (
          <DropdownItem key={verb.method} isDanger={verb.danger} onClick={() => choose(verb)}>
            {t(verb.label)}
          </DropdownItem>
        ))}
      </DropdownList>
    </Dropdown>
  );
}
