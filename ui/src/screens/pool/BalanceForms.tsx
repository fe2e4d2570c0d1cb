// Balance a pool now, its plan shown before; and how it is balanced.

import { Checkbox, FormGroup, Grid, Radio } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { usePlan } from '../../api/client';
import type { BalanceGoal, BalanceMode, BalancePlan, BalancePolicy, Pool } from '../../api/generated';
import { ErrorBox, Loading } from '../../parts/feedback';
import { NumberField } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';
import { balanceParams, policyOf, type BalanceDraft } from './draft';
import { Plan } from './Plan';
import { GOAL, MODE } from './words';

const GOALS = Object.keys(GOAL) as BalanceGoal[];
const MODES = Object.keys(MODE) as BalanceMode[];

function Goals({ goal, set }: { goal: BalanceGoal; set: (goal: BalanceGoal) => void }) {
  const { t } = useTranslation();
  return (
    <FormGroup role="radiogroup" fieldId="balance-goal" label={t('What for')}>
      {GOALS.map((one) => (
        <Radio key={one} id={`balance-${one}`} name="balance-goal" label={t(GOAL[one])} isChecked={goal === one} onChange={() => set(one)} />
      ))}
    </FormGroup>
  );
}

export function BalanceNow({ pool, policy, close }: { pool: Pool; policy: BalancePolicy; close: () => void }) {
  const { t } = useTranslation();
  const [goal, setGoal] = useState<BalanceGoal>(policy.goal ?? 'performance');
  const params = { pool: pool.id, goal };
  const read = usePlan<BalancePlan>('pool.balance', params);
  const plan = read.data?.plan;
  return (
    <FormDialog
      act={{ method: 'pool.balance', params, title: t('Balance {{name}}', { name: pool.name }) }}
      button={t('Move them')}
      ready={(plan?.moves.length ?? 0) > 0}
      waits={plan && t('Nothing would move.')}
      close={close}
      about={t('The plan is made anew when it begins, and each move is checked once more.')}
    >
      <Goals goal={goal} set={setGoal} />
      {read.isPending && <Loading lines={3} />}
      {read.isError && <ErrorBox error={read.error} title={t('It would be refused')} retry={() => void read.refetch()} />}
      {plan && <Plan plan={plan} />}
    </FormDialog>
  );
}

/** What others do without is switched off. */
function PowerHosts({ draft, set }: { draft: BalanceDraft; set: (part: Partial<BalanceDraft>) => void }) {
  const { t } = useTranslation();
  const help = t('Only hosts with power control. They go on again when there is too little room.');
  return (
    <>
      <Checkbox id="balance-power" label={t('Switch hosts off that others do without')} description={help} isChecked={draft.power_hosts} onChange={(_event, power_hosts) => set({ power_hosts })} />
      {draft.power_hosts && (
        <Grid hasGutter sm={6}>
          <NumberField id="balance-hosts-on" label={t('Hosts that stay on')} value={draft.hosts_on} set={(hosts_on) => set({ hosts_on })} min={1} max={1000} />
          <NumberField id="balance-power-rest" label={t('Rest after switching a host (minutes)')} value={draft.power_cool_down_minutes} set={(power_cool_down_minutes) => set({ power_cool_down_minutes })} min={0} max={10_080} />
        </Grid>
      )}
    </>
  );
}

export function BalanceSettings({ pool, policy, close }: { pool: Pool; policy: BalancePolicy; close: () => void }) {
  const { t } = useTranslation();
  const [draft, setDraft] = useState<BalanceDraft>(() => policyOf(policy));
  const set = (part: Partial<BalanceDraft>) => setDraft((before) => ({ ...before, ...part }));
  const params = balanceParams(pool.id, policy, draft);
  return (
    <FormDialog act={{ method: 'pool.set_balance', params, title: t('How {{name}} is balanced', { name: pool.name }) }} button={t('Change')} ready={Object.keys(params).length > 1} waits={t('Nothing is changed yet.')} close={close}>
      <FormGroup role="radiogroup" fieldId="balance-mode" label={t('Who decides')}>
        {MODES.map((one) => (
          <Radio key={one} id={`balance-${one}`} name="balance-mode" label={t(MODE[one].label)} description={t(MODE[one].text)} isChecked={draft.mode === one} onChange={() => set({ mode: one })} />
        ))}
      </FormGroup>
      <Goals goal={draft.goal} set={(goal) => set({ goal })} />
      <Grid hasGutter sm={6}>
        {draft.goal === 'performance' && (
          <>
            <NumberField id="balance-threshold" label={t('Above the mean (%)')} value={draft.threshold_percent} set={(threshold_percent) => set({ threshold_percent })} min={1} max={100} help={t('A host that is so much fuller gives VMs away.')} />
            <NumberField id="balance-gain" label={t('Least gain (%)')} value={draft.min_gain_percent} set={(min_gain_percent) => set({ min_gain_percent })} min={0} max={100} help={t('For less, nothing moves.')} />
          </>
        )}
        <NumberField id="balance-ceiling" label={t('Fullest (%)')} value={draft.ceiling_percent} set={(ceiling_percent) => set({ ceiling_percent })} min={1} max={100} help={t('No host is filled further.')} />
        <NumberField id="balance-moves" label={t('Moves of a plan')} value={draft.moves} set={(moves) => set({ moves })} min={1} max={500} />
        <NumberField id="balance-at-once" label={t('Moves at a time')} value={draft.at_once} set={(at_once) => set({ at_once })} min={1} max={100} />
        <NumberField id="balance-per-host" label={t('Of these, with one host')} value={draft.per_host} set={(per_host) => set({ per_host })} min={1} max={100} />
        <NumberField id="balance-per-hour" label={t('Moves an hour')} value={draft.per_hour} set={(per_hour) => set({ per_hour })} min={1} max={1000} />
        <NumberField id="balance-cool-down" label={t('Rest after a move (minutes)')} value={draft.cool_down_minutes} set={(cool_down_minutes) => set({ cool_down_minutes })} min={0} max={10_080} />
      </Grid>
      {draft.goal === 'density' && draft.mode === 'automatic' && <PowerHosts draft={draft} set={set} />}
    </FormDialog>
  );
}
