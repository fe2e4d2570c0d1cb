// What makes backups again and again.

import { Label } from '@patternfly/react-core';
import JobIcon from '@patternfly/react-icons/dist/esm/icons/history-icon';
import { useMemo } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useNavigate } from 'react-router';
import type { BackupJob } from '../../api/generated';
import { msg } from '../../i18n/msg';
import { useAll } from '../../list/all';
import type { Column } from '../../list/columns';
import { ListView } from '../../list/ListView';
import { useBulk } from '../../list/useBulk';
import { usePages } from '../../list/pages';
import { QueryBar } from '../../list/QueryBar';
import { useListState } from '../../list/state';
import { Ago } from '../../parts/Ago';
import { CreateButton } from '../../parts/CreateButton';
import { Nothing } from '../../parts/feedback';
import { VerbMenu } from '../../parts/VerbMenu';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { useJobVerbs } from './verbs';

const nameOf = (job: BackupJob) => job.name;

export function JobLabel({ job }: { job: BackupJob }) {
  const { t } = useTranslation();
  if (!job.enabled) return <Label isCompact variant="outline" color="grey">{t('Switched off')}</Label>;
  return job.schedule ? <Label isCompact variant="outline" color="green">{t('On')}</Label> : <Label isCompact variant="outline" color="blue">{t('By hand')}</Label>;
}

export default function Jobs() {
  const { t } = useTranslation();
  const user = useUser();
  const navigate = useNavigate();
  const verbs = useJobVerbs();
  const repositories = useAll('repository.list', {});
  const { wanted, bar, list } = useListState();
  const pages = usePages('backup_job.list', wanted, 15_000);
  const columns = useMemo((): Column<BackupJob>[] => {
    const names = new Map(repositories.data?.map(({ id, name }) => [id, name]));
    const what = (job: BackupJob) => [job.filter, job.vms?.length ? t('{{count}} VMs', { count: job.vms.length }) : ''].filter(Boolean).join(' + ');
    const where = (job: BackupJob) => job.repositories.map((id) => names.get(id) ?? id.slice(0, 8)).join(', ');
    return [
      { key: 'name', header: msg('Name'), sort: 'name', cell: (job) => <Link to={`/jobs/${job.id}`}>{job.name}</Link>, text: nameOf },
      { key: 'state', header: msg('State'), width: 8, cell: (job) => <JobLabel job={job} />, text: (job) => String(job.enabled) },
      { key: 'what', header: msg('VMs'), wide: true, cell: (job) => <code>{what(job)}</code>, text: what },
      { key: 'where', header: msg('Repositories'), wide: true, cell: where, text: where },
      { key: 'schedule', header: msg('Schedule'), width: 9, wide: true, cell: (job) => (job.schedule ? <code>{job.schedule}</code> : '—'), text: (job) => job.schedule ?? '' },
      { key: 'next', header: msg('Next run'), sort: 'next_run', width: 9, cell: (job) => <Ago at={job.next_run} />, text: (job) => job.next_run ?? '' },
      { key: 'last', header: msg('Last run'), sort: 'last_run', width: 9, wide: true, cell: (job) => <Ago at={job.last_run} />, text: (job) => job.last_run ?? '' },
      { key: 'id', header: msg('Id'), optional: true, cell: (job) => <code>{job.id}</code>, text: (job) => job.id },
    ];
  }, [repositories.data, t]);
  const bulk = useBulk({ rows: pages.rows, id: (job) => job.id, name: nameOf, verbs: (job) => verbs(job) });
  const create = <CreateButton label={t('Create a backup job')} why={mayNot(user, 'backup_job.create')} go={() => void navigate('/jobs/new')} />;
  return (
    <>
      <ListView
        title={t('Backup jobs')}
        about={t('Which VMs are backed up, when, where to, and for how long.')}
        noun="jobs"
        columns={columns}
        pages={pages}
        id={(job) => job.id}
        name={nameOf}
        {...list}
        {...bulk.list}
        query={<QueryBar {...bar} noun="backup_job" label={t('Filter backup jobs')} placeholder={t('Filter: enabled:yes repository:main, or words')} />}
        create={create}
        actions={(job) => <VerbMenu name={job.name} verbs={verbs(job)} />}
        menu
        empty={
          <Nothing icon={JobIcon} title={t('No backup jobs yet')}>
            {t('First a repository, then a job for the VMs that a filter finds, such as tag:prod.')}
          </Nothing>
        }
      />
      {bulk.dialog}
    </>
  );
}
