// One job: its settings, what its rules keep of what is there, its runs.

import { Card, CardBody, CardTitle, PageSection } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';
import { Link, useNavigate, useParams } from 'react-router';
import { there, useRead } from '../../api/client';
import type { BackupJob } from '../../api/generated';
import { FALLBACK_MS } from '../../live/again';
import { Facts } from '../../parts/Facts';
import { Failed, Loading } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { Id } from '../../parts/Id';
import { PageHead } from '../../parts/PageHead';
import { Parts } from '../../parts/Parts';
import { useUrlState } from '../../parts/url';
import { VerbMenu } from '../../parts/VerbMenu';
import { QUIESCE } from '../backup/quiesce';
import { JobLabel } from './Jobs';
import { Retention } from './Retention';
import { keepsAll, RULES } from './retention';
import { RunList } from './RunList';
import { useJobVerbs } from './verbs';
import { useAll } from '../../list/all';

export default function JobPage() {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const verbs = useJobVerbs();
  const { job: reference = '' } = useParams();
  const [tab, setTab] = useUrlState('tab');
  const read = useRead('backup_job.get', { job: reference }, { every: FALLBACK_MS });
  const job = there(read);
  if (read.isPending) return <Loading />;
  if (!job) return <Failed error={read.error} up={['/jobs', t('Backup jobs')]} retry={() => void read.refetch()} />;
  const tabs: [string, string][] = [
    ['summary', t('Summary')],
    ['runs', t('Runs')],
    ['keeps', t('What it keeps')],
  ];
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <PageHead up={['/jobs', t('Backup jobs')]} title={job.name} labels={<JobLabel job={job} />} actions={<VerbMenu labelled name={job.name} verbs={verbs(job, () => void navigate('/jobs'))} />} />
      <Parts of="job" label={t('Parts of the job')} parts={tabs} shown={tab ?? 'summary'} address={(key) => (key === 'summary' ? `/jobs/${job.id}` : `/jobs/${job.id}?tab=${key}`)} go={(key) => setTab(key === 'summary' ? null : key)}>
        {tab === 'runs' ? <RunList job={job.id} /> : tab === 'keeps' ? <Retention job={job} /> : <Summary job={job} />}
      </Parts>
    </PageSection>
  );
}

function Summary({ job }: { job: BackupJob }) {
  const { t } = useTranslation();
  const format = useFormat();
  const repositories = useAll('repository.list', {});
  const hours = (minutes?: number) => (minutes ? format.duration(minutes * 60) : t('none'));
  const keep = job.keep ?? {};
  return (
    <div className="x-cards">
      <Card isCompact>
        <CardTitle component="h2">{t('What, and where to')}</CardTitle>
        <CardBody>
          <Facts
            facts={[
              [t('VMs'), job.filter && <Link key="f" to={`/vms?q=${encodeURIComponent(job.filter)}`}><code>{job.filter}</code></Link>],
              !!job.vms?.length && [t('VMs by name'), format.number(job.vms.length)],
              !!job.include_disks?.length && [t('Only these disks'), job.include_disks.join(', ')],
              !!job.exclude_disks?.length && [t('Disks left out'), job.exclude_disks.join(', ')],
              [t('Repositories'), job.repositories.map((id) => repositories.data?.find((one) => one.id === id)?.name ?? id.slice(0, 8)).join(', ')],
            ]}
          />
        </CardBody>
      </Card>
      <Card isCompact>
        <CardTitle component="h2">{t('When')}</CardTitle>
        <CardBody>
          <Facts
            facts={[
              [t('Schedule'), job.schedule ? <code key="s">{job.schedule}</code> : t('By hand only')],
              !!job.timezone && [t('Time zone'), job.timezone],
              [t('Next run'), format.date(job.next_run)],
              [t('Last run'), format.date(job.last_run)],
              [t('Warns after'), hours(job.rpo_minutes)],
              [t('Ends after'), hours(job.window_minutes)],
            ]}
          />
        </CardBody>
      </Card>
      <Card isCompact>
        <CardTitle component="h2">{t('How')}</CardTitle>
        <CardBody>
          <Facts
            facts={[
              [t('Keeps'), keepsAll(keep) ? t('everything') : RULES.filter(([rule]) => keep[rule]).map(([rule, label]) => `${t(label)} ${keep[rule]}`).join(', ')],
              [t('VMs at a time'), job.concurrency],
              [t('Tries after a failure'), job.retries ?? 0],
              [t('Speed limit'), job.bandwidth ? t('{{size}}/s', { size: format.bytes(job.bandwidth) }) : t('none')],
              [t('Quiesce guests'), t(QUIESCE[job.quiesce ?? 'try'])],
              !!job.prove && [t('VMs proved after each run'), job.prove],
              !!job.prove_ports?.length && [t('Ports that have to answer'), job.prove_ports.join(', ')],
              !!job.mail_to?.length && [t('Report by e-mail to'), `${job.mail_to.join(', ')} · ${job.mail_on === 'problems' ? t('Those with problems') : t('Every run')}`],
              [t('Report to'), job.webhook],
              [t('Id'), <Id key="i" id={job.id} />],
            ]}
          />
        </CardBody>
      </Card>
    </div>
  );
}
