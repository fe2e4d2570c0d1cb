// What can be done with a pool.

import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import type { Pool } from '../../api/generated';
import { quoted } from '../../list/filter';
import type { Verb } from '../../parts/VerbMenu';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { metricsOf } from '../metrics/MetricsLink';

export function usePoolVerbs() {
  const { t } = useTranslation();
  const user = useUser();
  const navigate = useNavigate();
  return (pool: Pool, deleted?: () => void): Verb[] => [
    { label: t('Metrics of its hosts'), go: () => void navigate(metricsOf('host', `pool:${quoted(pool.name)}`)) },
    { label: t('Metrics of its VMs'), go: () => void navigate(metricsOf('vm', `pool:${quoted(pool.name)}`)) },
    {
      label: t('Delete'),
      danger: true,
      why: mayNot(user, 'pool.delete'),
      act: { method: 'pool.delete', params: { pool: pool.id }, title: t('Delete the pool {{name}}', { name: pool.name }) },
      question: { text: t('Only an empty pool can be deleted.'), button: t('Delete'), done: deleted },
    },
  ];
}
