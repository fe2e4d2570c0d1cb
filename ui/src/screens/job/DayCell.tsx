// A day of the calendar: the runs that began, what their proofs came to, and what each job does next.

import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import type { BackupJob, BackupRun } from '../../api/generated';
import type { Day } from './month';
import { proofSum, proofTone, provedAt } from './proofs';

const MOST = 6;

interface Entry {
  key: string;
  to: string;
  kind: string;
  title: string;
  text: string;
}

export function DayCell({ day, runs, jobs }: { day: Day; runs: BackupRun[]; jobs: BackupJob[] }) {
  const { t } = useTranslation();
  const ran = runs
    .filter((run) => day.holds(run.started))
    .map((run): Entry => ({ key: run.id, to: `/runs/${run.id}`, kind: run.status, title: run.status === 'failed' ? t('Failed') : t('Begun'), text: run.job_name }));
  const proved = runs
    .filter((run) => proofSum(run).all > 0 && day.holds(provedAt(run)))
    .map((run): Entry => {
      const sum = proofSum(run);
      const tone = proofTone(sum);
      const title = { done: t('Every proof was passed'), failed: t('A proof failed'), open: t('Proofs without a verdict') }[tone];
      return { key: `proofs-${run.id}`, to: `/runs/${run.id}`, kind: tone, title, text: t('{{name}}: {{passed}} of {{all}} proved', { name: run.job_name, passed: sum.passed, all: sum.all }) };
    });
  const next = jobs
    .filter((job) => job.enabled && day.holds(job.next_run))
    .map((job): Entry => ({ key: job.id, to: `/jobs/${job.id}`, kind: 'next', title: t('Next run'), text: job.prove ? t('{{name}}, then proofs', { name: job.name }) : job.name }));
  const all = [...ran, ...proved, ...next];
  return (
    <div role="cell" className={`x-day${day.inside ? '' : ' x-day-outside'}${day.today ? ' x-day-today' : ''}`}>
      <span className="x-dim">{day.date.getDate()}</span>
      <ul className="x-plain">
        {all.slice(0, MOST).map(({ key, to, kind, title, text }) => (
          <li key={key}>
            <Link to={to} className={`x-run x-run-${kind}`} title={title}>
              {text}
            </Link>
          </li>
        ))}
        {all.length > MOST && <li className="x-dim">{t('… and {{count}} more', { count: all.length - MOST })}</li>}
      </ul>
    </div>
  );
}
