// The table of VMs: filtered, sorted and paged by the orchestrator, live.

import MachineIcon from '@patternfly/react-icons/dist/esm/icons/virtual-machine-icon';
import { useMemo } from 'react';
import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import type { VmRow } from '../../api/generated';
import { ListView } from '../../list/ListView';
import { useBulk } from '../../list/useBulk';
import { usePages } from '../../list/pages';
import { QueryBar } from '../../list/QueryBar';
import { CreateButton } from '../../parts/CreateButton';
import { Nothing } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { useUrlState } from '../../parts/url';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { MetricsLink } from '../metrics/MetricsLink';
import { vmColumns } from './columns';
import { useLiveRows } from '../../live/rows';
import { BackUpVms, SnapshotVms, TagVms } from './ManyVms';
import { useVmVerbs, VmMenu } from './VmMenu';

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
  const verbs = useVmVerbs();
  const columns = useMemo(() => vmColumns(format), [format]);
  const [query, setQuery] = useUrlState('q');
  const [sort, setSort] = useUrlState('sort');
  const filter = within ? (query ? `${within} (${query})` : within) : (query ?? '');
  const pages = usePages('vm.list', { filter, sort: sort ?? '' });
  useLiveRows('vm', filter, sort ?? '');
  const cannot = mayNot(user, 'vm.create');
  const create = <CreateButton label={t('Create a VM')} why={cannot} go={() => void navigate('/vms/new')} />;
  const forms = [
    { label: t('Change tags'), dialog: (vms: VmRow[], close: () => void) => <TagVms vms={vms} close={close} /> },
    { label: t('Take a snapshot'), dialog: (vms: VmRow[], close: () => void) => <SnapshotVms vms={vms} close={close} /> },
    { label: t('Back up now'), dialog: (vms: VmRow[], close: () => void) => <BackUpVms vms={vms} close={close} /> },
  ];
  const bulk = useBulk({ rows: pages.rows, id: (vm) => vm.id, name: (vm) => vm.name, verbs, forms });
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
        {...bulk.list}
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
      {bulk.dialog}
    </>
  );
}
