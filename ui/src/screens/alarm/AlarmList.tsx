// What is wrong now, by the rules.

import { Label } from '@patternfly/react-core';
import MutedIcon from '@patternfly/react-icons/dist/esm/icons/bell-slash-icon';
import AlarmIcon from '@patternfly/react-icons/dist/esm/icons/bell-icon';
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useNavigate } from 'react-router';
import type { Alarm } from '../../api/generated';
import { msg } from '../../i18n/msg';
import type { Column } from '../../list/columns';
import { ListView } from '../../list/ListView';
import { usePages } from '../../list/pages';
import { QueryBar } from '../../list/QueryBar';
import { Ago } from '../../parts/Ago';
import { Nothing } from '../../parts/feedback';
import { SeverityLabel } from '../../parts/state';
import { useUrlState } from '../../parts/url';
import { VerbMenu, type Verb } from '../../parts/VerbMenu';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { Silence } from './Silence';
import { idOf, pageOf, useWrong } from './words';

const MEANT = msg('It is the orchestrator’s own and always told.');

export function AlarmList() {
  const { t } = useTranslation();
  const user = useUser();
  const navigate = useNavigate();
  const wrong = useWrong();
  const [query, setQuery] = useUrlState('q');
  const [sort, setSort] = useUrlState('sort');
  const [silencing, setSilencing] = useState<Alarm>();
  const pages = usePages('alarm.list', { filter: query ?? '', sort: sort ?? '' }, 15_000);
  const columns = useMemo((): Column<Alarm>[] => [
    { key: 'severity', header: msg('Severity'), sort: 'severity', width: 9, cell: (alarm) => <SeverityLabel severity={alarm.severity} />, text: (alarm) => alarm.severity },
    {
      key: 'name',
      header: msg('About'),
      sort: 'name',
      width: 11,
      cell: (alarm) => {
        const page = pageOf(alarm);
        return page ? <Link to={page}>{alarm.name}</Link> : t('The orchestrator');
      },
      text: (alarm) => alarm.name,
    },
    { key: 'wrong', header: msg('What is wrong'), cell: wrong, text: wrong },
    { key: 'rule', header: msg('Rule'), sort: 'rule', width: 9, wide: true, cell: (alarm) => (alarm.rule ? <Link to={`/alarm-rules/${alarm.rule}`}>{alarm.rule_name}</Link> : <code>{alarm.rule_name}</code>), text: (alarm) => alarm.rule_name },
    {
      key: 'silenced',
      header: msg('Told'),
      sort: 'silenced',
      width: 8,
      wide: true,
      cell: (alarm) => (alarm.silenced ? <Label isCompact icon={<MutedIcon />}>{t('Silenced')}</Label> : t('yes')),
      text: (alarm) => String(!alarm.silenced),
    },
    { key: 'since', header: msg('Since'), sort: 'since', width: 9, cell: (alarm) => <Ago at={alarm.since} />, text: (alarm) => alarm.since },
    { key: 'metric', header: msg('Metric'), optional: true, sort: 'metric', width: 9, cell: (alarm) => <code>{alarm.metric ?? '—'}</code>, text: (alarm) => alarm.metric ?? '' },
    { key: 'value', header: msg('Value'), optional: true, width: 7, cell: (alarm) => alarm.value ?? '—', text: (alarm) => String(alarm.value ?? '') },
  ], [wrong, t]);
  const verbs = (alarm: Alarm): Verb[] => {
    const page = pageOf(alarm);
    return [
      { label: t('Silence'), why: mayNot(user, 'alarm.silence') ?? (alarm.rule ? undefined : MEANT), go: () => setSilencing(alarm), note: t('Nobody is told for a while. It stays in this list.') },
      ...(page ? [{ label: t('Look at its metrics'), go: () => void navigate(page) }] : []),
    ];
  };
  return (
    <>
      <ListView
        title={t('Wrong now')}
        heading="h2"
        noun="alarms"
        columns={columns}
        pages={pages}
        id={idOf}
        name={(alarm) => `${alarm.name} ${alarm.rule_name}`}
        filtered={!!query}
        clear={() => setQuery(null)}
        sort={sort || '-since'}
        setSort={setSort}
        query={<QueryBar value={query ?? ''} set={setQuery} noun="alarm" label={t('Filter alarms')} placeholder={t('Filter: severity:error of:host age:>1h, or words')} />}
        actions={(alarm) => <VerbMenu name={`${alarm.name}, ${alarm.rule_name}`} verbs={verbs(alarm)} />}
        menu
        empty={
          <Nothing icon={AlarmIcon} title={t('Nothing is wrong')}>
            {t('What a rule finds appears here when it happens, and goes when it is over.')}
          </Nothing>
        }
      />
      {silencing && <Silence alarm={silencing} close={() => setSilencing(undefined)} />}
    </>
  );
}
