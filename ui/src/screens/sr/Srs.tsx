// Storage repositories: where disks live, and how much room there is.

import { Progress } from '@patternfly/react-core';
import StorageIcon from '@patternfly/react-icons/dist/esm/icons/database-icon';
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import type { Sr } from '../../api/generated';
import { msg } from '../../i18n/msg';
import type { Column } from '../../list/columns';
import { ListView } from '../../list/ListView';
import { useBulk } from '../../list/useBulk';
import { usePages } from '../../list/pages';
import { QueryBar } from '../../list/QueryBar';
import { useListState } from '../../list/state';
import { FALLBACK_MS } from '../../live/again';
import { CreateButton } from '../../parts/CreateButton';
import { Nothing } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { useNames } from '../../parts/names';
import { VerbMenu } from '../../parts/VerbMenu';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { AttachSr, CreateSr } from './dialogs';
import { SrLabel } from './state';
import { useSrVerbs } from './verbs';
import { full, where } from './words';

export default function Srs() {
  const { t } = useTranslation();
  const user = useUser();
  const format = useFormat();
  const names = useNames();
  const verbs = useSrVerbs();
  const { wanted, bar, list } = useListState();
  const [making, setMaking] = useState(false);
  const [attaching, setAttaching] = useState<Sr>();
  const pages = usePages('sr.list', wanted, FALLBACK_MS);
  const columns = useMemo((): Column<Sr>[] => {
    const hosts = (sr: Sr) => (sr.hosts.length > 3 ? t('{{count}} hosts', { count: sr.hosts.length }) : sr.hosts.map(names.host).join(', ')) || '—';
    const room = (sr: Sr) => (sr.space ? t('{{free}} free of {{total}}', { free: format.bytes(sr.space.free), total: format.bytes(sr.space.total) }) : '—');
    return [
      { key: 'name', header: msg('Name'), sort: 'name', cell: (sr) => <Link to={`/storage/${sr.id}`}>{sr.name}</Link>, text: (sr) => sr.name },
      { key: 'state', header: msg('State'), width: 7.5, cell: (sr) => <SrLabel sr={sr} />, text: (sr) => sr.problem ?? 'usable' },
      {
        key: 'used',
        header: msg('Used'),
        width: 8,
        wide: true,
        cell: (sr) => {
          const ratio = full(sr);
          if (ratio === undefined) return '—';
          return <Progress size="sm" measureLocation="outside" aria-label={t('Used: {{name}}', { name: sr.name })} value={ratio * 100} label={format.percent(ratio)} variant={ratio > 0.97 ? 'danger' : ratio > 0.9 ? 'warning' : undefined} />;
        },
        text: (sr) => full(sr)?.toFixed(3) ?? '',
      },
      { key: 'free', header: msg('Room'), sort: 'free', width: 12, cell: room, text: (sr) => String(sr.space?.free ?? '') },
      { key: 'vdis', header: msg('Disks'), sort: 'vdis', width: 4.5, wide: true, cell: (sr) => format.number(sr.vdis), text: (sr) => String(sr.vdis) },
      { key: 'hosts', header: msg('Hosts'), wide: true, cell: hosts, text: hosts },
      { key: 'where', header: msg('Where'), wide: true, cell: (sr) => (sr.spec ? <code>{where(sr, '')}</code> : <span className="x-dim">{t('local')}</span>), text: (sr) => where(sr, 'local') },
      { key: 'copies', header: msg('Snapshots'), width: 8, optional: true, cell: (sr) => (sr.copy_on_write == null ? '—' : sr.copy_on_write ? t('at once') : t('copies')), text: (sr) => String(sr.copy_on_write ?? '') },
      { key: 'id', header: msg('Id'), optional: true, cell: (sr) => <code>{sr.id}</code>, text: (sr) => sr.id },
    ];
  }, [format, names, t]);
  const bulk = useBulk({ rows: pages.rows, id: (sr) => sr.id, name: (sr) => sr.name, verbs: (sr) => verbs(sr, { attach: () => setAttaching(sr) }) });
  const create = <CreateButton label={t('Attach storage')} why={mayNot(user, 'sr.create')} go={() => setMaking(true)} />;
  return (
    <>
      <ListView
        title={t('Storage')}
        about={t('Storage repositories: where disks live. Every host has one of its own; shared ones are attached to several.')}
        noun="storage"
        columns={columns}
        pages={pages}
        id={(sr) => sr.id}
        name={(sr) => sr.name}
        {...list}
        {...bulk.list}
        query={<QueryBar {...bar} noun="sr" label={t('Filter storage')} placeholder={t('Filter: kind:nfs host:xen1 free:<100GiB, or words')} />}
        create={create}
        actions={(sr) => <VerbMenu name={sr.name} verbs={verbs(sr, { attach: () => setAttaching(sr) })} />}
        menu
        empty={
          <Nothing icon={StorageIcon} title={t('No storage yet')}>
            {t('Hosts bring storage of their own when they join.')}
          </Nothing>
        }
      />
      {bulk.dialog}
      {making && <CreateSr close={() => setMaking(false)} />}
      {attaching && <AttachSr sr={attaching} close={() => setAttaching(undefined)} />}
    </>
  );
}
