// What can be done with a pool, and the dialogs of it.

import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import type { Pool } from '../../api/generated';
import { quoted } from '../../list/filter';
import type { Verb } from '../../parts/VerbMenu';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { metricsOf } from '../metrics/MetricsLink';
import { HighAvailability } from './HighAvailability';
import { UpdatePool } from './Update';

export function usePoolVerbs() {
  const { t } = useTranslation();
  const user = useUser();
  const navigate = useNavigate();
  const [updating, setUpdating] = useState<Pool>();
  const [watching, setWatching] = useState<Pool>();
  const verbs = (pool: Pool, deleted?: () => void): Verb[] => [
    { label: t('Metrics of its hosts'), go: () => void navigate(metricsOf('host', `pool:${quoted(pool.name)}`)) },
    { label: t('Metrics of its VMs'), go: () => void navigate(metricsOf('vm', `pool:${quoted(pool.name)}`)) },
    { label: t('High availability'), go: () => setWatching(pool) },
    { label: t('Update its hosts'), why: mayNot(user, 'pool.update', { pool: pool.id }), go: () => setUpdating(pool) },
    {
      label: t('Pause the update'),
      why: mayNot(user, 'pool.pause_update', { pool: pool.id }),
      act: { method: 'pool.pause_update', params: { pool: pool.id }, title: t('Pause the update') },
      note: t('No further host is begun.'),
    },
    {
      label: t('Go on with the update'),
      why: mayNot(user, 'pool.resume_update', { pool: pool.id }),
      act: { method: 'pool.resume_update', params: { pool: pool.id }, title: t('Go on with the update') },
    },
    {
      label: t('Delete'),
      danger: true,
      why: mayNot(user, 'pool.delete'),
      act: { method: 'pool.delete', params: { pool: pool.id }, title: t('Delete the pool {{name}}', { name: pool.name }) },
      question: { text: t('Only an empty pool can be deleted.'), button: t('Delete'), typeName: pool.name, done: deleted },
    },
  ];
  const dialogs = (
    <>
      {updating && <UpdatePool pool={updating} close={() => setUpdating(undefined)} />}
      {watching && <HighAvailability pool={watching} why={mayNot(user, 'ha.enable', { pool: watching.id })} close={() => setWatching(undefined)} />}
    </>
  );
  return { verbs, dialogs };
}
