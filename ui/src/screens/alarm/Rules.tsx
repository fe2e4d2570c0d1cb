// What raises alarms.

import RuleIcon from '@patternfly/react-icons/dist/esm/icons/bell-icon';
import { Label } from '@patternfly/react-core';
import { useCallback, useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useNavigate } from 'react-router';
import { useRead } from '../../api/client';
import type { AlarmRule } from '../../api/generated';
import { msg } from '../../i18n/msg';
import type { Column } from '../../list/columns';
import { ListView } from '../../list/ListView';
import { useBulk } from '../../list/useBulk';
import { QueryBar } from '../../list/QueryBar';
import { useWhole } from '../../list/whole';
import { CreateButton } from '../../parts/CreateButton';
import { Nothing } from '../../parts/feedback';
import { SeverityLabel } from '../../parts/state';
import { useUrlState } from '../../parts/url';
import { VerbMenu, type Verb } from '../../parts/VerbMenu';
import { SEVERITY } from '../../parts/words';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { Silence } from './Silence';
import { useRuleWords } from './words';

const nameOf = (rule: AlarmRule) => rule.name;
const toldBy = (rule: AlarmRule) => [...rule.mail_to, rule.webhook, rule.syslog].filter(Boolean);

export function Rules() {
  const { t } = useTranslation();
  const user = useUser();
  const navigate = useNavigate();
  const words = useRuleWords();
  const [query, setQuery] = useUrlState('q');
  const [silencing, setSilencing] = useState<AlarmRule>();
  const why = mayNot(user, 'alarm_rule.list');
  // The API has no filter here; whatever stands in the row is found.
  const text = useCallback(
    (rule: AlarmRule) => [rule.name, t(SEVERITY[rule.severity].label), rule.severity, words(rule), rule.of, rule.filter, ...toldBy(rule), rule.enabled ? t('On') : t('Switched off')].join(' '),
    [words, t],
  );
  const pages = useWhole(useRead('alarm_rule.list', {}, { every: 30_000, enabled: !why }), query ?? '', text);
  const columns = useMemo((): Column<AlarmRule>[] => [
    { key: 'name', header: msg('Name'), cell: (rule) => <Link to={`/alarm-rules/${rule.id}`}>{rule.name}</Link>, text: nameOf },
    { key: 'severity', header: msg('Severity'), width: 9, cell: (rule) => <SeverityLabel severity={rule.severity} />, text: (rule) => rule.severity },
    { key: 'says', header: msg('When'), cell: words, text: words },
    { key: 'of', header: msg('Of'), wide: true, cell: (rule) => (rule.filter ? <code>{rule.filter}</code> : rule.of === 'vm' ? t('all VMs') : t('all hosts')), text: (rule) => `${rule.of} ${rule.filter}` },
    { key: 'told', header: msg('Who is told'), wide: true, cell: (rule) => toldBy(rule).join(', ') || t('nobody'), text: (rule) => toldBy(rule).join(' ') },
    { key: 'state', header: msg('State'), width: 8, wide: true, cell: (rule) => <RuleLabel rule={rule} />, text: (rule) => String(rule.enabled) },
    { key: 'id', header: msg('Id'), optional: true, cell: (rule) => <code>{rule.id}</code>, text: (rule) => rule.id },
  ], [words, t]);
  const verbs = (rule: AlarmRule): Verb[] => {
    const params = { rule: rule.id };
    return [
      { label: t('Change'), go: () => void navigate(`/alarm-rules/${rule.id}`) },
      { label: t('Silence'), go: () => setSilencing(rule), note: t('Nobody is told for a while.') },
      rule.enabled
        ? { label: t('Switch off'), act: { method: 'alarm_rule.update', params: { ...params, enabled: false }, title: t('Switch {{name}} off', { name: rule.name }) }, note: t('Its alarms end.') }
        : { label: t('Switch on'), act: { method: 'alarm_rule.update', params: { ...params, enabled: true }, title: t('Switch {{name}} on', { name: rule.name }) } },
      {
        label: t('Delete'),
        danger: true,
        act: { method: 'alarm_rule.delete', params, title: t('Delete the rule {{name}}', { name: rule.name }) },
        question: { text: t('Its alarms end, and nobody is told of such any more.'), button: t('Delete'), typeName: rule.name },
      },
    ];
  };
  const bulk = useBulk({ rows: pages.rows, id: (rule) => rule.id, name: nameOf, verbs });
  if (why) return <Nothing title={t('You cannot see alarm rules')}>{t(why)}</Nothing>;
  const create = <CreateButton label={t('Create an alarm rule')} go={() => void navigate('/alarm-rules/new')} />;
  return (
    <>
      <ListView
        title={t('Rules')}
        heading="h2"
        noun="alarm-rules"
        columns={columns}
        pages={pages}
        id={(rule) => rule.id}
        name={nameOf}
        filtered={!!query}
        clear={() => setQuery(null)}
        {...bulk.list}
        query={<QueryBar value={query ?? ''} set={setQuery} label={t('Filter rules')} placeholder={t('Words of the name, of what it says, or who is told')} />}
        create={create}
        actions={(rule) => <VerbMenu name={rule.name} verbs={verbs(rule)} />}
        menu
        empty={
          <Nothing icon={RuleIcon} title={t('No alarm rules yet')}>
            {t('A rule says what is wrong: a metric of VMs or hosts beyond a threshold, for so long; and who is told.')}
          </Nothing>
        }
      />
      {bulk.dialog}
      {silencing && <Silence rule={silencing} close={() => setSilencing(undefined)} />}
    </>
  );
}

export function RuleLabel({ rule }: { rule: AlarmRule }) {
  const { t } = useTranslation();
  return rule.enabled ? <Label isCompact variant="outline" color="green">{t('On')}</Label> : <Label isCompact variant="outline" color="grey">{t('Switched off')}</Label>;
}
