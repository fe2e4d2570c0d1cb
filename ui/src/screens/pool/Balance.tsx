// How a pool is balanced: who decides, what moves now, and the plan that waits for somebody.

import { Card, CardBody, CardTitle } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import { useRead } from '../../api/client';
import type { Pool } from '../../api/generated';
import { FALLBACK_MS } from '../../live/again';
import { Facts } from '../../parts/Facts';
import { ErrorBox, Loading } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { WhyButton } from '../../parts/WhyButton';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { BalanceNow, BalanceSettings } from './BalanceForms';
import { policyOf } from './draft';
import { Plan } from './Plan';
import { GOAL, MODE } from './words';

export function Balance({ pool }: { pool: Pool }) {
  const { t } = useTranslation();
  const format = useFormat();
  const user = useUser();
  const [form, setForm] = useState<'now' | 'settings'>();
  const read = useRead('pool.balance_status', { pool: pool.id }, { every: FALLBACK_MS });
  const why = mayNot(user, 'pool.balance', { pool: pool.id });
  const close = () => setForm(undefined);
  const button = (label: string, go: () => void) => (
    <WhyButton variant="secondary" why={why} go={go}>
      {label}
    </WhyButton>
  );
  const body = () => {
    if (read.isPending) return <Loading lines={4} />;
    if (!read.data) return <ErrorBox error={read.error} retry={() => void read.refetch()} />;
    const { proposal, task, moved_last_hour } = read.data;
    const policy = policyOf(read.data.policy);
    return (
      <>
        <Facts
          facts={[
            [t('Who decides'), t(MODE[policy.mode].label)],
            [t('What for'), t(GOAL[policy.goal])],
            [t('Fullest (%)'), format.percent(policy.ceiling_percent / 100)],
            [t('Moved in the last hour'), t('{{count}} of {{most}}', { count: moved_last_hour, most: policy.per_hour })],
            !!task && [t('Now'), <Link key="t" to={`/tasks/${task}`}>{t('VMs are moving: show the task')}</Link>],
          ]}
        />
        <p className="x-labels x-above">
          {button(t('Balance now'), () => setForm('now'))}
          {button(t('Change how'), () => setForm('settings'))}
        </p>
        {proposal && (
          <div className="x-above">
            <p>{t('Proposed {{when}}; balance now makes a plan anew.', { when: format.ago(proposal.made) })}</p>
            <Plan plan={proposal} />
          </div>
        )}
        {form === 'now' && <BalanceNow pool={pool} policy={policy} close={close} />}
        {form === 'settings' && <BalanceSettings pool={pool} policy={policy} close={close} />}
      </>
    );
  };
  return (
    <Card isCompact>
      <CardTitle component="h2">{t('Balancing')}</CardTitle>
      <CardBody>{body()}</CardBody>
    </Card>
  );
}
