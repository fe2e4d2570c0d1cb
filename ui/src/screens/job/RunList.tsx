// Runs of backup jobs: a table, and the same as a calendar.

import { Progress } from '@patternfly/react-core';
import RunIcon from '@patternfly/react-icons/dist/esm/icons/history-icon';
import { useMemo } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import type { BackupRun } from '../../api/generated';
import { msg } from '../../i18n/msg';
import type { Column } from '../../list/columns';
import { ListView } from '../../list/ListView';
import { usePages } from '../../list/pages';
import { QueryBar } from '../../list/QueryBar';
import { FALLBACK_MS } from '../../live/again';
import { Nothing } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { useUrlState } from '../../parts/url';
import { proofSum, proofTone } from './proofs';
import { counts, ofRun, RunLabel, runOver, speed } from '../backup/words';

const nameOf = (run: BackupRun) => run.job_name;
const seconds = (run: BackupRun) => ((run.ended ? new Date(run.ended).getTime() : Date.now()) - new Date(run.started).getTime()) / 1000;

export function RunList({ job, extra }: { job?: string; extra?: React.ReactNode }) {
  const { t } = useTranslation();
  const format = useFormat();
  const [sort, setSort] = useUrlState('sort');
  const [query, setQuery] = useUrlState('q');
  const pages = usePages('backup_run.list', { job: job ?? null, filter: query ?? '', sort: sort ?? '' }, FALLBACK_MS);
  const columns = useMemo((): Column<BackupRun>[] => {
    const rate = (run: BackupRun) => {
      const found = speed(ofRun(run));
      return found ? t('{{size}}/s', { size: format.bytes(found) }) : '—';
    };
    return [
      { key: 'started', header: msg('Begun'), sort: 'started', width: 10, cell: (run) => <Link to={`/runs/${run.id}`}>{format.stamp(run.started)}</Link>, text: (run) => run.started },
      ...(job ? [] : [{ key: 'job', header: msg('Job'), sort: 'job', cell: (run: BackupRun) => <Link to={`/jobs/${run.job}`}>{run.job_name}</Link>, text: nameOf }]),
      { key: 'status', header: msg('State'), sort: 'status', width: 8, cell: (run) => <RunLabel status={run.status} />, text: (run) => run.status },
      {
        key: 'vms',
        header: msg('VMs'),
        width: 11,
        cell: (run) => {
          const { over, failed, all } = counts(run.vms);
          if (!runOver(run.status)) return <Progress size="sm" measureLocation="outside" aria-label={run.job_name} value={all ? (over / all) * 100 : 0} label={t('{{done}} of {{total}}', { done: over, total: all })} />;
          return failed ? <span className="x-bad">{t('{{failed}} of {{all}} failed', { failed, all })}</span> : format.number(all);
        },
        text: (run) => String(run.vms.length),
      },
      {
        key: 'proofs',
        header: msg('Proofs'),
        width: 9,
        cell: (run) => {
          const sum = proofSum(run);
          const text = t('{{done}} of {{total}}', { done: sum.passed, total: sum.all });
          return sum.all ? <span className={proofTone(sum) === 'failed' ? 'x-bad' : undefined}>{text}</span> : '—';
        },
        text: (run) => `${proofSum(run).passed}/${proofSum(run).all}`,
      },
      { key: 'read', header: msg('Read'), width: 7, wide: true, cell: (run) => format.bytes(ofRun(run).read), text: (run) => String(ofRun(run).read) },
      { key: 'stored', header: msg('Stored'), width: 7, wide: true, cell: (run) => format.bytes(ofRun(run).stored), text: (run) => String(ofRun(run).stored) },
      { key: 'speed', header: msg('Speed'), width: 8, wide: true, cell: rate, text: rate },
      { key: 'took', header: msg('Took'), width: 7, wide: true, cell: (run) => format.duration(seconds(run)), text: (run) => seconds(run).toFixed(0) },
    ];
  }, [format, job, t]);
  return (
    <ListView
      title={t('Backup runs')}
      heading={job ? 'h2' : 'h1'}
      noun="runs"
      columns={columns}
      pages={pages}
      id={(run) => run.id}
      name={(run) => `${run.job_name} ${run.started}`}
      filtered={!!query}
      clear={() => setQuery(null)}
      query={<QueryBar value={query ?? ''} set={setQuery} noun="backup_run" label={t('Filter runs')} placeholder={t('Filter: status:failed started:>2026-01-31, or words')} />}
      sort={sort || '-started'}
      setSort={setSort}
      extra={extra}
      empty={
        <Nothing icon={RunIcon} title={t('No runs yet')}>
          {t('A job runs by its schedule, or when somebody says so.')}
        </Nothing>
      }
    />
  );
}
