// A rule: of what, what is wrong then, and who is told. What it comes to is said in a sentence beside it.

import { ActionGroup, Button, Card, CardBody, CardTitle, Form, FormGroup, FormSection, Grid, PageSection, Radio } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useNavigate, useParams } from 'react-router';
import { useRead } from '../../api/client';
import type { AlarmRule, AlarmWhen, Metric, MethodName, Severity, Unit } from '../../api/generated';
import { QueryBar } from '../../list/QueryBar';
import { useActs, type Act } from '../../parts/acts';
import { Alert } from '../../parts/Alert';
import { Failed, Loading, Nothing } from '../../parts/feedback';
import { ChoiceField, Help, NumberField, TextField, words } from '../../parts/fields';
import { useFormat } from '../../parts/format';
import { PageHead } from '../../parts/PageHead';
import { WaitsFor } from '../../parts/WaitsFor';
import { SEVERITY } from '../../parts/words';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { METRIC } from '../metrics/groups';
import { createRule, EMPTY_RULE, fromRule, LONGEST_MINUTES, parseValue, problems, ruleReady, shownUnit, updateRule, type Problems, type RuleDraft } from './draft';
import { useRuleWords, useUnits } from './words';

const LIST = '/alarms?tab=rules';

interface PartProps {
  draft: RuleDraft;
  set(part: Partial<RuleDraft>): void;
  wrong: Problems;
  unit: Unit;
  /** Of one that is there, what it watches stays. */
  rule?: AlarmRule;
}

export default function RuleForm() {
  const { t } = useTranslation();
  const user = useUser();
  const { rule: id } = useParams();
  const why = mayNot(user, 'alarm_rule.create');
  const read = useRead('alarm_rule.get', { rule: id ?? '' }, { enabled: !!id && !why });
  const metrics = useRead('metrics.list', {}, { enabled: !why });
  if (why) return <Nothing title={t('You cannot see alarm rules')}>{t(why)}</Nothing>;
  if ((id && read.isPending) || metrics.isPending) return <Loading />;
  if (id && !read.data) return <Failed error={read.error} retry={() => void read.refetch()} />;
  return <Filled key={id ?? ''} rule={read.data} />;
}

function Filled({ rule }: { rule?: AlarmRule }) {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const unitOf = useUnits();
  const { run, copy } = useActs();
  const [draft, setDraft] = useState<RuleDraft>(() => (rule ? fromRule(rule, unitOf(rule.metric)) : EMPTY_RULE));
  const [busy, setBusy] = useState(false);
  const set = (part: Partial<RuleDraft>) => setDraft((before) => ({ ...before, ...part }));
  const unit = unitOf(draft.metric);
  const change = rule && updateRule(rule, draft, unit);
  const act = (
    change
      ? { method: 'alarm_rule.update', params: change, title: t('Change the rule {{name}}', { name: rule.name }) }
      : { method: 'alarm_rule.create', params: createRule(draft, unit), title: t('Create the rule {{name}}', { name: draft.name }) }
  ) as Act<MethodName>;
  const same = !!change && Object.keys(change).length === 1;
  const ready = ruleReady(draft, unit) && !same;
  const submit = async (event: React.FormEvent) => {
    event.preventDefault();
    if (!ready || busy) return;
    setBusy(true);
    const made = await run(act);
    setBusy(false);
    if (made) void navigate(LIST);
  };
  const props = { draft, set, unit, rule, wrong: problems(draft, unit) };
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <PageHead up={[LIST, t('Alarm rules')]} title={rule ? t('Change {{name}}', { name: rule.name }) : t('Create an alarm rule')} />
      <Form id="rule-form" className="x-form" onSubmit={(event) => void submit(event)}>
        <div className="x-columns">
          <div className="x-stack">
            {!rule && <TextField id="rule-name" label={t('Name')} value={draft.name} set={(name) => set({ name })} required autoFocus placeholder="busy" wrong={props.wrong.name && t(props.wrong.name)} help={t('What is wrong then: it stands in each message.')} />}
            <What {...props} />
            <When {...props} />
          </div>
          <div className="x-stack">
            <Who {...props} />
            <InWords {...props} />
          </div>
        </div>
        <ActionGroup>
          <Button type="submit" isDisabled={!ready} isLoading={busy}>
            {rule ? t('Change') : t('Create')}
          </Button>
          <Button variant="secondary" isDisabled={!ready} onClick={() => copy(act)}>
            {t('Copy as …')}
          </Button>
          <Button variant="link" component={(props) => <Link {...props} to={LIST} />}>
            {t('Cancel')}
          </Button>
          <WaitsFor form="rule-form" ready={ready} />
        </ActionGroup>
      </Form>
    </PageSection>
  );
}

function What({ draft, set, rule }: PartProps) {
  const { t } = useTranslation();
  const format = useFormat();
  const vms = useRead('vm.count', { filter: draft.filter }, { enabled: draft.of === 'vm' });
  const hosts = useRead('host.list', { filter: draft.filter, limit: 1 }, { enabled: draft.of === 'host' });
  const { data, error } = draft.of === 'vm' ? vms : hosts;
  const counted = { count: data?.total ?? 0, total: format.number(data?.total ?? 0) };
  const filter = { value: draft.filter, set: (filter: string) => set({ filter }), label: t('Which of them') };
  return (
    <FormSection title={t('Of what')} titleElement="h2">
      {!rule && (
        <FormGroup role="radiogroup" fieldId="rule-of" label={t('It watches')} isInline>
          <Radio id="rule-vm" name="rule-of" label={t('VMs')} isChecked={draft.of === 'vm'} onChange={() => set({ of: 'vm', filter: '', metric: 'cpu' })} />
          <Radio id="rule-host" name="rule-of" label={t('Hosts')} isChecked={draft.of === 'host'} onChange={() => set({ of: 'host', filter: '', metric: 'cpu' })} />
        </FormGroup>
      )}
      <FormGroup label={t('Which of them')}>
        {draft.of === 'vm' ? <QueryBar {...filter} complete="vm.complete" placeholder={t('Filter: power:running tag:prod memory:>4GiB, or words')} /> : <QueryBar {...filter} noun="host" placeholder={t('Filter: pool:default name:xen1, or words')} />}
        <Help wrong={!!error}>{error ? error.message : draft.of === 'vm' ? t('{{total}} VMs now; read again as they change.', counted) : t('{{total}} hosts now; read again as they change.', counted)}</Help>
      </FormGroup>
    </FormSection>
  );
}

function When({ draft, set, wrong, unit, rule }: PartProps) {
  const { t } = useTranslation();
  const metrics = useRead('metrics.list', {});
  const there = (metrics.data ?? []).filter(({ of }) => of.includes(draft.of)).map(({ metric }): [string, string] => [metric, t(METRIC[metric])]);
  const inUnit = (label: string) => (shownUnit(unit) ? `${label} (${shownUnit(unit)})` : label);
  return (
    <FormSection title={t('What is wrong')} titleElement="h2">
      {rule ? (
        <Help>{t('What is measured, and on which side of the threshold it is wrong, stays: make another rule for another.')}</Help>
      ) : (
        <Grid hasGutter sm={6}>
          <ChoiceField id="rule-metric" label={t('Metric')} value={draft.metric} set={(metric) => set({ metric: metric as Metric })} options={there} />
          <ChoiceField id="rule-when" label={t('It is wrong')} value={draft.when} set={(when) => set({ when: when as AlarmWhen })} options={[['above', t('above the threshold')], ['below', t('below the threshold')]]} />
        </Grid>
      )}
      <Grid hasGutter sm={6}>
        <TextField id="rule-threshold" label={inUnit(t('Threshold'))} value={draft.threshold} set={(threshold) => set({ threshold })} required wrong={wrong.threshold && t(wrong.threshold)} />
        <TextField id="rule-clear" label={inUnit(t('Over when it is back at'))} value={draft.clear} set={(clear) => set({ clear })} wrong={wrong.clear && t(wrong.clear)} help={t('Empty: the threshold.')} />
        <NumberField id="rule-minutes" label={t('For so many minutes')} value={draft.minutes} set={(minutes) => set({ minutes })} min={0} max={LONGEST_MINUTES} help={t('Every value must be beyond the threshold. 0: one is enough.')} />
        <ChoiceField id="rule-severity" label={t('Severity')} value={draft.severity} set={(severity) => set({ severity: severity as Severity })} options={Object.entries(SEVERITY).map(([severity, { label }]) => [severity, t(label)])} />
      </Grid>
    </FormSection>
  );
}

function Who({ draft, set, wrong }: PartProps) {
  const { t } = useTranslation();
  const mail = useRead('mail.get', {});
  return (
    <FormSection title={t('Who is told')} titleElement="h2">
      <TextField id="rule-mail" label={t('By e-mail')} value={draft.mail} set={(mail) => set({ mail })} placeholder="ops@example.org" wrong={wrong.mail && t(wrong.mail)} help={t('Several with commas between them. Empty: nobody.')} />
      {words(draft.mail).length > 0 && mail.data?.server === '' && (
        <Alert isInline isPlain variant="warning" title={t('No mail is sent: there is no mail server')}>
          <Link to="/mail">{t('Set the mail server')}</Link>
        </Alert>
      )}
      <TextField id="rule-webhook" label={t('By HTTP')} value={draft.webhook} set={(webhook) => set({ webhook })} placeholder="https://…" wrong={wrong.webhook && t(wrong.webhook)} help={t('A URL that is sent JSON. Empty: none.')} />
      <TextField id="rule-syslog" label={t('By syslog')} value={draft.syslog} set={(syslog) => set({ syslog })} placeholder="udp://log.example.org:514" wrong={wrong.syslog && t(wrong.syslog)} help={t('Nobody says whether it arrived. Empty: none.')} />
    </FormSection>
  );
}

function InWords({ draft, unit }: PartProps) {
  const { t } = useTranslation();
  const format = useFormat();
  const ruleWords = useRuleWords();
  const [threshold, clear] = [parseValue(draft.threshold, unit), parseValue(draft.clear, unit)];
  const told = [draft.mail, draft.webhook, draft.syslog].some((way) => way.trim() !== '');
  return (
    <Card isCompact>
      <CardTitle component="h2">{t('In words')}</CardTitle>
      <CardBody>
        {threshold === undefined ? (
          <p className="x-dim">{t('It has no threshold yet.')}</p>
        ) : (
          <>
            <p>{ruleWords({ ...draft, threshold, for_s: Math.round(draft.minutes * 60) })}</p>
            <p className="x-dim">{t('Over when it is back at {{value}}.', { value: format.measure(clear ?? threshold, unit) })}</p>
          </>
        )}
        {!told && <p className="x-dim">{t('Nobody is told: it stands in the list of alarms and among the events.')}</p>}
      </CardBody>
    </Card>
  );
}
