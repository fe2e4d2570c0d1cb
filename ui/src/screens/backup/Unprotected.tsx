// VMs whose disks nobody would bring back.

import { Card, CardBody, CardTitle, Content } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import { useRead } from '../../api/client';
import type { WhyUnprotected } from '../../api/generated';
import { msg } from '../../i18n/msg';
import { useFormat } from '../../parts/format';

const WHY: Record<WhyUnprotected, string> = {
  no_job: msg('no job covers it'),
  no_backup: msg('no backup yet'),
  too_old: msg('the newest is old'),
};
const MOST = 6;
const OLD_MINUTES = 7 * 24 * 60;

export function Unprotected() {
  const { t } = useTranslation();
  const format = useFormat();
  const read = useRead('backup.unprotected', { older_than_minutes: OLD_MINUTES, limit: MOST }, { every: 60_000 });
  const list = read.data?.items;
  const total = read.data?.total ?? 0;
  if (!list) return null;
  return (
    <Card isCompact>
      <CardTitle component="h2">{t('Not protected by a backup')}</CardTitle>
      <CardBody>
        {list.length === 0 ? (
          <Content component="p" className="x-dim">
            {t('Every VM has a backup that is younger than a week. Those tagged no-backup are left out.')}
          </Content>
        ) : (
          <>
            <ul className="x-plain x-lines">
              {list.map(({ vm, name, why, newest }) => (
                <li key={vm}>
                  <Link to={`/vms/${vm}/backups`}>{name}</Link>
                  <span className="x-dim">{newest ? format.ago(newest) : t(WHY[why])}</span>
                </li>
              ))}
            </ul>
            {total > list.length && (
              <p className="x-above">
                {t('… and {{count}} more', { count: total - list.length })}
              </p>
            )}
          </>
        )}
      </CardBody>
    </Card>
  );
}
