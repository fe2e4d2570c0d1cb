// Alarms: what is wrong now, what was, what raises them, and what nobody is told of.

import { Content, PageSection } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import { PageTitle } from '../../parts/PageTitle';
import { Parts } from '../../parts/Parts';
import { useUrlState } from '../../parts/url';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { AlarmList } from './AlarmList';
import { Past } from './Past';
import { Rules } from './Rules';
import { Silences } from './Silences';

export default function Alarms() {
  const { t } = useTranslation();
  const user = useUser();
  const navigate = useNavigate();
  const [tab] = useUrlState('tab');
  const rules = !mayNot(user, 'alarm_rule.list');
  const tabs: [string, string][] = [
    ['now', t('Wrong now')],
    ['past', t('Past')],
    ...(rules ? ([['rules', t('Rules')], ['silences', t('Silences')]] as [string, string][]) : []),
  ];
  const address = (key: string) => (key === 'now' ? '/alarms' : `/alarms?tab=${key}`);
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <div>
        <PageTitle>{t('Alarms')}</PageTitle>
        <Content component="p" className="x-dim">
          {t('What the rules find wrong. What merely happened is under Events.')}
        </Content>
      </div>
      {/* Each part has a filter of its own: nothing of it goes along. */}
      <Parts of="alarms" label={t('Parts of the alarms')} parts={tabs} shown={tab ?? 'now'} address={address} go={(key) => void navigate(address(key), { replace: true })}>
        {tab === 'past' ? <Past /> : tab === 'rules' ? <Rules /> : tab === 'silences' ? <Silences /> : <AlarmList />}
      </Parts>
    </PageSection>
  );
}
