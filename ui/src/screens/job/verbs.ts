// What can be done with a backup job.

import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import type { BackupJob } from '../../api/generated';
import type { Verb } from '../../parts/VerbMenu';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';

export function useJobVerbs() {
  const { t } = useTranslation();
  const user = useUser();
  const navigate = useNavigate();
  return (job: BackupJob, deleted?: () => void): Verb[] => {
    const why = mayNot(user, 'backup_job.run');
    const params = { job: job.id };
    return [
      { label: t('Run now'), why, act: { method: 'backup_job.run', params, title: t('Run {{name}}', { name: job.name }) } },
      { label: t('Change'), why, go: () => void navigate(`/jobs/${job.id}/edit`) },
      job.enabled
        ? { label: t('Switch off'), why, act: { method: 'backup_job.update', params: { ...params, enabled: false }, title: t('Switch {{name}} off', { name: job.name }) }, note: t('No runs by its schedule; by hand they go on.') }
        : { label: t('Switch on'), why, act: { method: 'backup_job.update', params: { ...params, enabled: true }, title: t('Switch {{name}} on', { name: job.name }) } },
      {
        label: t('Delete'),
        danger: true,
        why,
        act: { method: 'backup_job.delete', params, title: t('Delete the job {{name}}', { name: job.name }) },
        question: { text: t('Its backups stay, and nothing forgets them any more. Its VMs may be unprotected then.'), button: t('Delete'), typeName: job.name, done: deleted },
      },
    ];
  };
}
