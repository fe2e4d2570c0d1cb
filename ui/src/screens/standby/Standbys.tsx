// VMs that stand by for others: what each holds, and what would be lost.

import StandbyIcon from '@patternfly/react-icons/dist/esm/icons/clone-icon';
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useNavigate } from 'react-router';
import type { Standby } from '../../api/generated';
import { msg } from '../../i18n/msg';
import type { Column } from '../../list/columns';
import { ListView } from '../../list/ListView';
import { useBulk } from '../../list/useBulk';
import { usePages } from '../../list/pages';
import { QueryBar } from '../../list/QueryBar';
import { FALLBACK_MS } from '../../live/again';
import { Ago } from '../../parts/Ago';
import { CreateButton } from '../../parts/CreateButton';
import { Nothing } from '../../parts/feedback';
import { useNames } from '../../parts/names';
import { useUrlState } from '../../parts/url';
import { VerbMenu } from '../../parts/VerbMenu';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { FailBack } from './FailBack';
import { useStandbyVerbs } from './verbs';
import { isBehind, StandbyLabel } from './words';

const nameOf = (standby: Standby) => standby.name;

export default function Standbys() {
  const { t } = useTranslation();
  const user = useUser();
  const navigate = useNavigate();
  const names = useNames();
  const verbs = useStandbyVerbs();
  const [query, setQuery] = useUrlState('q');
  const [sort, setSort] = useUrlState('sort');
  const [back, setBack] = useState<Standby>();
  const pages = usePages('standby.list', { filter: query ?? '', sort: sort ?? '' }, FALLBACK_MS);
  const columns = useMemo((): Column<Standby>[] => [
    { key: 'name', header: msg('Name'), sort: 'name', cell: (row) => <Link to={`/standbys/${row.vm}`}>{row.name}</Link>, text: nameOf },
    { key: 'status', header: msg('State'), sort: 'status', width: 10, cell: (row) => <StandbyLabel status={row.status} />, text: (row) => row.status },
    { key: 'of', header: msg('Stands by for'), sort: 'of', cell: (row) => (row.of_name ? <Link to={`/vms/${row.of}`}>{row.of_name}</Link> : t('a deleted VM')), text: (row) => row.of_name ?? '' },
    { key: 'host', header: msg('Host'), sort: 'host', width: 8, wide: true, cell: (row) => <Link to={`/hosts/${row.host}`}>{names.host(row.host)}</Link>, text: (row) => names.host(row.host) },
    { key: 'repository', header: msg('Repository'), sort: 'repository', width: 9, wide: true, cell: (row) => row.repository_name, text: (row) => row.repository_name },
    { key: 'holds', header: msg('Holds the state of'), sort: 'holds', width: 10, cell: (row) => <Ago at={row.backup_created} />, text: (row) => row.backup_created ?? '' },
    { key: 'newest', header: msg('Newer one'), sort: 'newest', width: 9, wide: true, cell: (row) => (isBehind(row) ? <Ago at={row.newest} /> : t('none')), text: (row) => (isBehind(row) ? (row.newest ?? '') : '') },
    { key: 'follows', header: msg('Follows'), width: 8, wide: true, optional: true, cell: (row) => (row.automatic ? t('by itself') : t('when told')), text: (row) => String(row.automatic) },
    { key: 'id', header: msg('Id'), optional: true, cell: (row) => <code>{row.vm}</code>, text: (row) => row.vm },
  ], [names, t]);
  const bulk = useBulk({ rows: pages.rows, id: (row) => row.vm, name: nameOf, verbs: (row) => verbs(row, { failBack: () => setBack(row) }) });
  const create = <CreateButton label={t('Make a standby')} why={mayNot(user, 'standby.create')} go={() => void navigate('/standbys/new')} />;
  return (
    <>
      <ListView
        title={t('Standbys')}
        about={t('VMs elsewhere that are off, follow the backups of another, and can take over.')}
        noun="standbys"
        columns={columns}
        pages={pages}
        id={(row) => row.vm}
        name={nameOf}
        filtered={!!query}
        clear={() => setQuery(null)}
        sort={sort || 'name'}
        setSort={setSort}
        {...bulk.list}
        query={<QueryBar value={query ?? ''} set={setQuery} noun="standby" label={t('Filter standbys')} placeholder={t('Filter: status:incomplete age:>1d host:xen2, or words')} />}
        create={create}
        actions={(row) => <VerbMenu name={row.name} verbs={verbs(row, { failBack: () => setBack(row) })} />}
        menu
        empty={
          <Nothing icon={StandbyIcon} title={t('No standbys yet')}>
            {t('After the loss of a host its VMs are back when their disks are. A standby has them already, a backup ago.')}
          </Nothing>
        }
      />
      {bulk.dialog}
      {back && <FailBack standby={back} close={() => setBack(undefined)} />}
    </>
  );
}
