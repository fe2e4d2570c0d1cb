// The files of a backup: its disks, their volumes, and folder after folder. A host reads them and hands them out itself,
// which a browser cannot take from it: what fetches one is shown as a command.

import { Breadcrumb, BreadcrumbItem, PageSection } from '@patternfly/react-core';
import FolderIcon from '@patternfly/react-icons/dist/esm/icons/folder-icon';
import { useMemo } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useNavigate, useParams } from 'react-router';
import { useRead } from '../../api/client';
import type { Backup, BackupFile, BackupVolume } from '../../api/generated';
import { msg } from '../../i18n/msg';
import type { Column } from '../../list/columns';
import { ListView } from '../../list/ListView';
import { useActs } from '../../parts/acts';
import { Failed, Loading, Nothing } from '../../parts/feedback';
import { ChoiceField } from '../../parts/fields';
import { useFormat } from '../../parts/format';
import { PageHead } from '../../parts/PageHead';
import { RowAction } from '../../parts/RowAction';
import { useUrlState } from '../../parts/url';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { crumbs, inside, rootOf, useFiles } from './files';

export default function Files() {
  const { t } = useTranslation();
  const user = useUser();
  const format = useFormat();
  const navigate = useNavigate();
  const { repository = '', backup = '' } = useParams();
  const [wanted] = useUrlState('disk');
  const [at] = useUrlState('at');
  const why = mayNot(user, 'backup.files');
  const read = useRead('backup.get', { backup, repository }, { enabled: !why });
  if (why) return <Nothing title={t('You cannot look into backups')}>{t(why)}</Nothing>;
  if (read.isPending) return <Loading />;
  if (!read.data) return <Failed error={read.error} retry={() => void read.refetch()} />;
  const { vm_name: name, disks, created, repository_name } = read.data;
  const disk = wanted ?? disks[0]?.name ?? '';
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <PageHead up={['/backups', t('Backups')]} title={t('Files of {{name}}', { name })} below={<span>{t('As it was {{when}}, from {{repository}}', { when: format.date(created), repository: repository_name })}</span>} />
      {disks.length > 1 && <ChoiceField id="files-disk" label={t('Disk')} value={disk} set={(disk) => void navigate({ search: address(disk) })} options={disks.map(({ name }) => [name, name])} />}
      {at ? <Folder backup={read.data} disk={disk} at={at} /> : <Volumes backup={read.data} disk={disk} />}
    </PageSection>
  );
}

function address(disk: string, at?: string): string {
  return new URLSearchParams({ disk, ...(at ? { at } : {}) }).toString();
}

function Volumes({ backup, disk }: { backup: Backup; disk: string }) {
  const { t } = useTranslation();
  const format = useFormat();
  const read = useRead('backup.files', { backup: backup.id, repository: backup.repository, disk });
  const columns = useMemo((): Column<BackupVolume>[] => [
    { key: 'name', header: msg('Volume'), cell: ({ name, unreadable }) => (unreadable ? name : <Link to={{ search: address(disk, rootOf(name)) }}>{name}</Link>), text: ({ name }) => name },
    { key: 'filesystem', header: msg('Filesystem'), width: 9, cell: ({ filesystem }) => filesystem ?? t('unknown'), text: ({ filesystem }) => filesystem ?? '' },
    { key: 'size', header: msg('Size'), width: 7, cell: ({ size }) => format.bytes(size), text: ({ size }) => String(size) },
    { key: 'problem', header: msg('Message'), wide: true, cell: ({ unreadable }) => unreadable ?? '—', text: ({ unreadable }) => unreadable ?? '' },
  ], [disk, format, t]);
  const rows = read.data?.volumes ?? [];
  const pages = { rows, total: rows.length, pending: read.isPending, error: read.error, retry: () => void read.refetch(), everything: () => Promise.resolve(rows) };
  return (
    <ListView
      title={t('Volumes')}
      heading="h2"
      noun="volumes"
      columns={columns}
      pages={pages}
      id={({ name }) => name}
      name={({ name }) => name}
      empty={<Nothing icon={FolderIcon} title={t('No volumes')}>{t('Nothing on this disk is a filesystem that can be read here.')}</Nothing>}
    />
  );
}

function Folder({ backup, disk, at }: { backup: Backup; disk: string; at: string }) {
  const { t } = useTranslation();
  const format = useFormat();
  const { copy } = useActs();
  const where = { backup: backup.id, repository: backup.repository, disk };
  const pages = useFiles({ ...where, at });
  const columns = useMemo((): Column<BackupFile>[] => [
    { key: 'name', header: msg('Name'), cell: ({ kind, name }) => (kind === 'folder' ? <Link to={{ search: address(disk, inside(at, name)) }}>{`${name}/`}</Link> : name), text: ({ name }) => name },
    { key: 'size', header: msg('Size'), width: 7, cell: ({ kind, size }) => (kind === 'file' ? format.bytes(size) : '—'), text: ({ size }) => String(size) },
    { key: 'modified', header: msg('Changed'), width: 11, wide: true, cell: ({ modified }) => format.stamp(new Date(modified * 1000).toISOString()), text: ({ modified }) => new Date(modified * 1000).toISOString() },
    { key: 'mode', header: msg('Mode'), width: 5, wide: true, cell: ({ mode }) => <code>{mode.toString(8).padStart(4, '0')}</code>, text: ({ mode }) => mode.toString(8) },
  ], [at, disk, format]);
  const fetch = (name: string, at: string) => copy({ method: 'backup.download', params: { ...where, at }, title: t('Fetch {{name}}', { name }) });
  const way = crumbs(at);
  return (
    <>
      <Breadcrumb className="x-above" aria-label={t('Where in the disk')}>
        <BreadcrumbItem render={({ className }) => <Link className={className} to={{ search: address(disk) }}>{disk}</Link>} />
        {way.map((one, index) => (
          <BreadcrumbItem key={one.at} isActive={index === way.length - 1} render={index === way.length - 1 ? undefined : ({ className }) => <Link className={className} to={{ search: address(disk, one.at) }}>{one.name}</Link>}>
            {index === way.length - 1 ? one.name : undefined}
          </BreadcrumbItem>
        ))}
      </Breadcrumb>
      <ListView
        title={way.at(-1)?.name ?? at}
        heading="h2"
        about={t('The host that reads the backup hands files out itself: what fetches one is shown as a command.')}
        noun="files"
        columns={columns}
        pages={pages}
        id={({ name }) => name}
        name={({ name }) => name}
        actions={({ kind, name }) => (kind === 'file' || kind === 'folder' ? <RowAction label={t('Fetch …')} name={name} go={() => fetch(name, inside(at, name))} /> : null)}
        empty={<Nothing icon={FolderIcon} title={t('This folder is empty')} />}
      />
    </>
  );
}
