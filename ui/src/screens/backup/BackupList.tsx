// Backups that are there, of all VMs or of one.

import { Label } from '@patternfly/react-core';
import BackupIcon from '@patternfly/react-icons/dist/esm/icons/archive-icon';
import { useMemo } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useNavigate } from 'react-router';
import type { Backup } from '../../api/generated';
import { msg } from '../../i18n/msg';
import type { Column } from '../../list/columns';
import { ListView } from '../../list/ListView';
import { useBulk } from '../../list/useBulk';
import { QueryBar } from '../../list/QueryBar';
import { usePages } from '../../list/pages';
import { Nothing } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { useUrlState } from '../../parts/url';
import { VerbMenu, type Verb } from '../../parts/VerbMenu';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { ProofLabel } from '../job/RunProofs';
import { CONSISTENCY } from './quiesce';
import { ofBackup, saved } from './words';

const idOf = (row: Backup) => `${row.repository}/${row.id}`;

export function BackupList({ vm, create }: { vm?: string; create?: React.ReactNode }) {
  const { t } = useTranslation();
  const user = useUser();
  const format = useFormat();
  const navigate = useNavigate();
  const [query, setQuery] = useUrlState('q');
  const [repository] = useUrlState('repository');
  const [sort, setSort] = useUrlState('sort');
  const pages = usePages('backup.list', { vm: vm ?? null, repository: repository ?? null, filter: query ?? '', sort: sort ?? '' }, 15_000);
  const columns = useMemo((): Column<Backup>[] => {
    const less = (backup: Backup) => saved(ofBackup(backup));
    return [
      ...(vm ? [] : [{ key: 'vm', header: msg('VM'), sort: 'vm', cell: (row: Backup) => (row.vm ? <Link to={`/vms/${row.vm}/backups`}>{row.vm_name}</Link> : row.vm_name), text: (row: Backup) => row.vm_name }]),
      { key: 'created', header: msg('Made'), sort: 'created', width: 13, cell: (row) => <time dateTime={row.created} title={format.ago(row.created)}>{format.stamp(row.created)}</time>, text: (row) => row.created },
      { key: 'repository', header: msg('Repository'), sort: 'repository', cell: (row) => row.repository_name, text: (row) => row.repository_name },
      { key: 'size', header: msg('Size'), sort: 'size', width: 7, wide: true, cell: (row) => format.bytes(ofBackup(row).size), text: (row) => String(ofBackup(row).size) },
      { key: 'read', header: msg('Read'), width: 7, wide: true, cell: (row) => format.bytes(ofBackup(row).read), text: (row) => String(ofBackup(row).read) },
      { key: 'stored', header: msg('Stored'), sort: 'stored', width: 7, wide: true, cell: (row) => format.bytes(ofBackup(row).stored), text: (row) => String(ofBackup(row).stored) },
      { key: 'saved', header: msg('Saved'), width: 6, wide: true, cell: (row) => (less(row) === undefined ? '—' : format.percent(less(row) ?? 0)), text: (row) => less(row)?.toFixed(3) ?? '' },
      { key: 'held', header: msg('Held'), width: 6, wide: true, cell: (row) => (row.held ? <Label isCompact color="blue">{t('held')}</Label> : '—'), text: (row) => String(row.held) },
      { key: 'proof', header: msg('Proof'), sort: 'proof', width: 9, cell: (row) => (row.proof ? <span title={row.proof.said}><ProofLabel proof={row.proof} /></span> : '—'), text: (row) => (row.proof ? (row.proof.answered ? 'boots' : 'failed') : '') },
      { key: 'consistency', header: msg('Guest’s disks'), optional: true, cell: (row) => (row.consistency ? <span title={row.not_quiesced_because ?? undefined}>{t(CONSISTENCY[row.consistency])}</span> : '—'), text: (row) => row.consistency ?? '' },
      { key: 'id', header: msg('Id'), optional: true, cell: (row) => <code>{row.id}</code>, text: (row) => row.id },
    ];
  }, [format, vm, t]);
  const verbs = (row: Backup): Verb[] => {
    const params = { backup: row.id, repository: row.repository };
    const name = `${row.vm_name}, ${format.stamp(row.created)}`;
    const why = mayNot(user, 'backup.hold');
    return [
      { label: t('Restore'), why: mayNot(user, 'backup.restore'), go: () => void navigate(`/restore/${row.repository}/${row.id}`) },
      { label: t('Look at its files'), why: mayNot(user, 'backup.files'), go: () => void navigate(`/backups/${row.repository}/${row.id}/files`) },
      { label: t('Prove that it boots'), why: mayNot(user, 'backup.prove'), act: { method: 'backup.prove', params, title: t('Prove the backup {{name}}', { name }) }, note: t('It is restored for a moment, apart from every network, to see whether it boots.') },
      row.held
        ? { label: t('Let go'), why, act: { method: 'backup.hold', params: { ...params, held: false }, title: t('Let go of {{name}}', { name }) }, note: t('Rules may forget it again.') }
        : { label: t('Hold'), why, act: { method: 'backup.hold', params: { ...params, held: true }, title: t('Hold {{name}}', { name }) }, note: t('No rule forgets it until it is let go.') },
      {
        label: t('Delete'),
        danger: true,
        why: why ?? (row.held ? msg('It is held: let it go first.') : undefined),
        act: { method: 'backup.delete', params, title: t('Delete the backup {{name}}', { name }) },
        question: { text: t('What other backups need stays. This one cannot be brought back.'), button: t('Delete'), typeName: row.vm_name },
      },
    ];
  };
  const of = (row: Backup) => `${row.vm_name}, ${format.stamp(row.created)}`;
  const bulk = useBulk({ rows: pages.rows, id: idOf, name: of, verbs });
  const list = (
    <ListView
      title={t('Backups')}
      heading={vm ? 'h2' : 'h1'}
      about={vm ? undefined : t('Every one is whole: only what is new is stored, and nothing is ever merged.')}
      noun="backups"
      columns={columns}
      pages={pages}
      id={idOf}
      name={(row) => `${row.vm_name} ${format.stamp(row.created)}`}
      filtered={!!query || !!repository}
      clear={() => void navigate({ search: '' })}
      sort={sort || '-created'}
      setSort={setSort}
      query={<QueryBar value={query ?? ''} set={setQuery} noun="backup" label={t('Filter backups')} placeholder={t('Filter: age:<7d held:yes proof:none, or words')} />}
      {...bulk.list}
      create={create}
      actions={(row) => <VerbMenu name={`${row.vm_name} ${format.stamp(row.created)}`} verbs={verbs(row)} />}
      menu
      empty={
        <Nothing icon={BackupIcon} title={t('No backups yet')}>
          {vm ? t('Nothing would bring this VM back.') : t('Add a repository and a job; or back one VM up from its page.')}
        </Nothing>
      }
    />
  );
  return (
    <>
      {list}
      {bulk.dialog}
    </>
  );
}
