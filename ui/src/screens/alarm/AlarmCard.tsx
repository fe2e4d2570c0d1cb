// Alarms in short, where somebody looks anyway: on the home page, and on the page of what is wrong.

import { Card, CardBody, CardTitle } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import { useRead } from '../../api/client';
import type { Measured } from '../../api/generated';
import { quoted } from '../../list/filter';
import { byWeight, useAlarms } from '../../live/alarms';
import { Ago } from '../../parts/Ago';
import { Alert } from '../../parts/Alert';
import { SeverityLabel } from '../../parts/state';
import { idOf, pageOf, useWrong } from './words';

const MOST = 8;

/** Nothing when nothing is wrong. */
export function AlarmCard() {
  const { t } = useTranslation();
  const wrong = useWrong();
  const { alarms, total } = useAlarms();
  if (alarms.length === 0) return null;
  return (
    <Card isCompact className="x-attention">
      <CardTitle component="h2">
        <Link to="/alarms">{t('Alarms')}</Link>
      </CardTitle>
      <CardBody>
        <ul className="x-plain x-lines">
          {alarms.slice(0, MOST).map((alarm) => (
            <li key={idOf(alarm)}>
              <span className="x-labels">
                <SeverityLabel severity={alarm.severity} />
                <Link to={pageOf(alarm) ?? '/alarms'}>{alarm.of === 'orchestrator' ? t('The orchestrator') : alarm.name}</Link>
                <span>{wrong(alarm)}</span>
              </span>
              <span className="x-dim">
                <Ago at={alarm.since} />
              </span>
            </li>
          ))}
        </ul>
        {total > MOST && <p className="x-above">{t('… and {{count}} more', { count: total - MOST })}</p>}
      </CardBody>
    </Card>
  );
}

const VARIANT = { error: 'danger', warning: 'warning', info: 'info' } as const;

/** The API finds alarms by a part of the name: the id tells which are meant. */
export function AlarmsOf({ of, id, name }: { of: Measured; id: string; name: string }) {
  const { t } = useTranslation();
  const wrong = useWrong();
  const read = useRead('alarm.list', { filter: `of:${of} name:${quoted(name)}`, limit: 100 }, { every: 30_000 });
  const alarms = (read.data?.items ?? []).filter((alarm) => alarm.id === id).sort(byWeight);
  return alarms.map((alarm) => (
    <Alert key={idOf(alarm)} isInline variant={VARIANT[alarm.severity]} title={wrong(alarm)}>
      <Link to="/alarms">{alarm.silenced ? t('{{rule}}, silenced', { rule: alarm.rule_name }) : alarm.rule_name}</Link>
      {' · '}
      <Ago at={alarm.since} />
    </Alert>
  ));
}
