// Where backups are kept.

import { Label } from '@patternfly/react-core';
import CheckIcon from '@patternfly/react-icons/dist/esm/icons/check-icon';
import ExclamationIcon from '@patternfly/react-icons/dist/esm/icons/exclamation-circle-icon';
import VaultIcon from '@patternfly/react-icons/dist/esm/icons/archive-icon';
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import type { Repository, RepositorySecret } from '../../api/generated';
import { msg } from '../../i18n/msg';
import type { Column } from '../../list/columns';
import { ListView } from '../../list/ListView';
import { useBulk } from '../../list/useBulk';
import { usePages } from '../../list/pages';
import { QueryBar } from '../../list/QueryBar';
import { useListState } from '../../list/state';
import { useActs } from '../../parts/acts';
import { Ago } from '../../parts/Ago';
import { CreateButton } from '../../parts/CreateButton';
import { Nothing } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { VerbMenu, type Verb } from '../../parts/VerbMenu';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { CreateRepository, EditLimits, Secret, Verify } from './dialogs';

const nameOf = (repository: Repository) => repository.name;

function placeOf({ place }: Repository): string {
  return place.kind === 'folder' ? place.path : `s3://${place.bucket}${place.prefix ? `/${place.prefix}` : ''}`;
}

export default function Repositories() {
  const { t } = useTranslation();
  const user = useUser();
  const { run } = useActs();
  const format = useFormat();
  const [making, setMaking] = useState(false);
  const [verifying, setVerifying] = useState<Repository>();
  const [limiting, setLimiting] = useState<Repository>();
  const [secret, setSecret] = useState<{ name: string; secret: RepositorySecret }>();
  const { wanted, bar, list } = useListState();
  const pages = usePages('repository.list', wanted, 15_000);
  const columns = useMemo((): Column<Repository>[] => [
    { key: 'name', header: msg('Name'), sort: 'name', cell: (row) => <Link to={`/backups?repository=${row.id}`}>{row.name}</Link>, text: nameOf },
    {
      key: 'state',
      header: msg('State'),
      width: 10,
      cell: (row) => {
        if (row.problem) return <Label isCompact variant="outline" color="red" icon={<ExclamationIcon />}>{t('Not reached')}</Label>;
        return row.checked ? <Label isCompact variant="outline" color="green" icon={<CheckIcon />}>{t('Usable')}</Label> : <Label isCompact variant="outline" color="blue">{t('Not tried yet')}</Label>;
      },
      text: (row) => row.problem ?? 'usable',
    },
    { key: 'place', header: msg('Where'), sort: 'place', cell: (row) => <code>{placeOf(row)}</code>, text: placeOf },
    { key: 'checked', header: msg('Last tried'), sort: 'checked', width: 10, wide: true, cell: (row) => <Ago at={row.checked} />, text: (row) => row.checked ?? '' },
    { key: 'concurrency', header: msg('Backups at a time'), optional: true, cell: (row) => row.concurrency || t('no limit'), text: (row) => String(row.concurrency ?? 0) },
    { key: 'bandwidth', header: msg('Speed limit'), optional: true, cell: (row) => (row.bandwidth ? t('{{size}}/s', { size: format.bytes(row.bandwidth) }) : t('no limit')), text: (row) => String(row.bandwidth ?? 0) },
    { key: 'problem', header: msg('Message'), wide: true, cell: (row) => row.problem ?? '—', text: (row) => row.problem ?? '' },
    { key: 'id', header: msg('Id'), optional: true, cell: (row) => <code>{row.id}</code>, text: (row) => row.id },
  ], [t, format]);
  const why = mayNot(user, 'repository.create');
  const show = async (row: Repository) => {
    const found = await run({ method: 'repository.key', params: { repository: row.id }, title: t('Show what opens {{name}}', { name: row.name }) });
    if (found) setSecret({ name: row.name, secret: found });
  };
  const verbs = (row: Repository): Verb[] => [
    { label: t('Try it'), why, act: { method: 'repository.test', params: { repository: row.id }, title: t('Try {{name}}', { name: row.name }) }, note: t('Opens it and reads its list of backups again.') },
    { label: t('Check'), why, go: () => setVerifying(row) },
    { label: t('Limits'), why: mayNot(user, 'repository.update'), go: () => setLimiting(row) },
    { label: t('Show what opens it'), why: mayNot(user, 'repository.key'), go: () => void show(row) },
    {
      label: t('Forget'),
      danger: true,
      why,
      act: { method: 'repository.delete', params: { repository: row.id }, title: t('Forget the repository {{name}}', { name: row.name }) },
      question: { text: t('What it holds stays there. It can be added again with what opens it; see that you have that first.'), button: t('Forget'), typeName: row.name },
    },
  ];
  const bulk = useBulk({ rows: pages.rows, id: (row) => row.id, name: nameOf, verbs });
  const create = <CreateButton label={t('Add a repository')} why={why} go={() => setMaking(true)} />;
  return (
    <>
      <ListView
        title={t('Repositories')}
        about={t('Where backups are kept, encrypted. Hosts write to them directly.')}
        noun="repositories"
        columns={columns}
        pages={pages}
        id={(row) => row.id}
        name={nameOf}
        {...list}
        {...bulk.list}
        query={<QueryBar {...bar} noun="repository" label={t('Filter repositories')} placeholder={t('Filter: kind:s3 place:nas, or words')} />}
        create={create}
        actions={(row) => <VerbMenu name={row.name} verbs={verbs(row)} />}
        menu
        empty={
          <Nothing icon={VaultIcon} title={t('No repositories yet')}>
            {t('A folder on another machine or an S3 bucket. Then a job says which VMs go there, and when.')}
          </Nothing>
        }
      />
      {bulk.dialog}
      {making && <CreateRepository close={() => setMaking(false)} />}
      {limiting && <EditLimits repository={limiting} close={() => setLimiting(undefined)} />}
      {verifying && <Verify repository={verifying} close={() => setVerifying(undefined)} />}
      {secret && <Secret {...secret} close={() => setSecret(undefined)} />}
    </>
  );
}
