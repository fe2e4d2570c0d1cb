// A backup job: which VMs, where to, when, and for how long; what that keeps in the long run is shown beside it.

import { ActionGroup, Button, Card, CardBody, CardTitle, Checkbox, Form, FormGroup, FormSection, Grid, PageSection, Radio, TextInput } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useNavigate, useParams } from 'react-router';
import { useRead } from '../../api/client';
import type { BackupJob, MailOn, MethodName } from '../../api/generated';
import { msg } from '../../i18n/msg';
import { useAll } from '../../list/all';
import { QueryBar } from '../../list/QueryBar';
import { useActs, type Act } from '../../parts/acts';
import { Alert } from '../../parts/Alert';
import { Failed, Loading, Nothing } from '../../parts/feedback';
import { ChoiceField, Help, NumberField, TextField } from '../../parts/fields';
import { useFormat } from '../../parts/format';
import { PageHead } from '../../parts/PageHead';
import { WaitsFor } from '../../parts/WaitsFor';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { NoRepository } from '../backup/NoRepository';
import { QuiesceField } from '../backup/quiesce';
import { createJob, EMPTY_JOB, fromJob, hoursBetween, jobReady, parsePorts, updateJob, type Every, type JobDraft } from './draft';
import { inTheLongRun, keepsAll, RULES } from './retention';

interface PartProps {
  draft: JobDraft;
  set(part: Partial<JobDraft>): void;
}

export default function JobForm() {
  const { t } = useTranslation();
  const user = useUser();
  const { job: id } = useParams();
  const read = useRead('backup_job.get', { job: id ?? '' }, { enabled: !!id });
  const why = mayNot(user, 'backup_job.create');
  if (why) return <Nothing title={t('You cannot change backup jobs')}>{t(why)}</Nothing>;
  if (!id) return <Filled />;
  if (read.isPending) return <Loading />;
  if (!read.data) return <Failed error={read.error} retry={() => void read.refetch()} />;
  return <Filled key={read.data.id} job={read.data} />;
}

function Filled({ job }: { job?: BackupJob }) {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const { run, copy } = useActs();
  const [draft, setDraft] = useState<JobDraft>(() => (job ? fromJob(job) : EMPTY_JOB));
  const [busy, setBusy] = useState(false);
  const set = (part: Partial<JobDraft>) => setDraft((before) => ({ ...before, ...part }));
  const change = job && updateJob(job, draft);
  const act = (
    change
      ? { method: 'backup_job.update', params: change, title: t('Change the job {{name}}', { name: job.name }) }
      : { method: 'backup_job.create', params: createJob(draft), title: t('Create the job {{name}}', { name: draft.name }) }
  ) as Act<MethodName>;
  const same = !!change && Object.keys(change).length === 1;
  const ready = jobReady(draft) && !same;
  const submit = async (event: React.FormEvent) => {
    event.preventDefault();
    if (!ready || busy) return;
    setBusy(true);
    const made = (await run(act)) as BackupJob | undefined;
    setBusy(false);
    if (made) void navigate(`/jobs/${made.id}`);
  };
  const props = { draft, set };
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <PageHead up={['/jobs', t('Backup jobs')]} title={job ? t('Change {{name}}', { name: job.name }) : t('Create a backup job')} />
      <Form id="job-form" className="x-form" onSubmit={(event) => void submit(event)}>
        <div className="x-columns">
          <div className="x-stack">
            {!job && <TextField id="job-name" label={t('Name')} value={draft.name} set={(name) => set({ name })} required autoFocus placeholder="nightly" />}
            <What {...props} />
            <When {...props} />
            <More {...props} />
          </div>
          <Keep {...props} />
        </div>
        <ActionGroup>
          <Button type="submit" isDisabled={!ready} isLoading={busy}>
            {job ? t('Change') : t('Create')}
          </Button>
          <Button variant="secondary" isDisabled={!ready} onClick={() => copy(act)}>
            {t('Copy as …')}
          </Button>
          <Button variant="link" component={(props) => <Link {...props} to={job ? `/jobs/${job.id}` : '/jobs'} />}>
            {t('Cancel')}
          </Button>
          <WaitsFor form="job-form" ready={ready} />
        </ActionGroup>
      </Form>
    </PageSection>
  );
}

function What({ draft, set }: PartProps) {
  const { t } = useTranslation();
  const format = useFormat();
  const repositories = useAll('repository.list', {});
  const count = useRead('vm.count', { filter: draft.filter }, { enabled: draft.filter !== '' });
  return (
    <FormSection title={t('What, and where to')} titleElement="h2">
      <FormGroup label={t('VMs')} fieldId="job-filter">
        <QueryBar value={draft.filter} set={(filter) => set({ filter })} complete="vm.complete" label={t('VMs')} placeholder={t('Filter: power:running tag:prod memory:>4GiB, or words')} />
        <Help wrong={!!count.error}>
          {count.error ? count.error.message : count.data ? t('{{total}} VMs now; whatever passes the filter when a run begins.', { count: count.data.total, total: format.number(count.data.total) }) : t('Those that pass this filter when a run begins, such as tag:prod.')}
        </Help>
        {draft.vms.length > 0 && <Help>{t('And {{count}} VMs by name.', { count: draft.vms.length })}</Help>}
      </FormGroup>
      <FormGroup label={t('Repositories')} role="group" isRequired>
        {repositories.data?.length === 0 && <NoRepository />}
        {repositories.data?.map(({ id, name }) => (
          <Checkbox key={id} id={`job-repository-${id}`} label={name} isChecked={draft.repositories.includes(id)} onChange={(_event, on) => set({ repositories: on ? [...draft.repositories, id] : draft.repositories.filter((one) => one !== id) })} />
        ))}
      </FormGroup>
      <Grid hasGutter sm={6}>
        <TextField id="job-include" label={t('Only these disks')} value={draft.include} set={(include) => set({ include })} placeholder="xvda" help={t('By device, or VM:device. Empty: all.')} />
        <TextField id="job-exclude" label={t('Disks left out')} value={draft.exclude} set={(exclude) => set({ exclude })} placeholder="db-1:xvdc" help={t('By device, or VM:device. Empty: none.')} />
      </Grid>
    </FormSection>
  );
}

const DAYS = [msg('Sunday'), msg('Monday'), msg('Tuesday'), msg('Wednesday'), msg('Thursday'), msg('Friday'), msg('Saturday')];

function When({ draft, set }: PartProps) {
  const { t } = useTranslation();
  const ways: [Every, string][] = [
    ['day', t('Every day')],
    ['week', t('Every week')],
    ['hours', t('Every few hours')],
    ['own', t('By cron')],
    ['never', t('By hand only')],
  ];
  const clock = draft.every === 'day' || draft.every === 'week';
  return (
    <FormSection title={t('When')} titleElement="h2">
      <FormGroup role="radiogroup" fieldId="job-every" label={t('How often')} isInline>
        {ways.map(([every, label]) => (
          <Radio key={every} id={`job-${every}`} name="job-every" label={label} isChecked={draft.every === every} onChange={() => set({ every })} />
        ))}
      </FormGroup>
      <Grid hasGutter sm={6}>
        {draft.every === 'week' && <ChoiceField id="job-weekday" label={t('Day')} value={String(draft.weekday)} set={(day) => set({ weekday: Number(day) })} options={DAYS.map((name, day) => [String(day), t(name)])} />}
        {clock && (
          <FormGroup label={t('Time')} fieldId="job-at">
            <TextInput id="job-at" type="time" value={draft.at} onChange={(_event, at) => set({ at })} />
          </FormGroup>
        )}
        {draft.every === 'hours' && <NumberField id="job-hours" label={t('Hours between two')} value={draft.hours} set={(hours) => set({ hours })} min={1} max={23} />}
        {draft.every === 'own' && <TextField id="job-cron" label={t('Cron')} value={draft.cron} set={(cron) => set({ cron })} placeholder="30 2 * * 1-5" help={t('Minute, hour, day, month, day of the week.')} />}
        {draft.every !== 'never' && <TextField id="job-timezone" label={t('Time zone')} value={draft.timezone} set={(timezone) => set({ timezone })} placeholder="Europe/Berlin" />}
      </Grid>
    </FormSection>
  );
}

function More({ draft, set }: PartProps) {
  const { t } = useTranslation();
  return (
    <FormSection title={t('How')} titleElement="h2">
      <Grid hasGutter sm={6}>
        <NumberField id="job-concurrency" label={t('VMs at a time')} value={draft.concurrency} set={(concurrency) => set({ concurrency })} min={1} max={64} />
        <NumberField id="job-retries" label={t('Tries after a failure')} value={draft.retries} set={(retries) => set({ retries })} min={0} max={10} />
        <NumberField id="job-bandwidth" label={t('MiB a second and VM')} value={draft.bandwidth} set={(bandwidth) => set({ bandwidth })} min={0} help={t('0: no limit.')} />
        <NumberField id="job-window" label={t('Ends after (hours)')} value={draft.window} set={(window) => set({ window })} min={0} max={168} help={t('0: no limit.')} />
        <NumberField id="job-rpo" label={t('Warn after (hours)')} value={draft.rpo} set={(rpo) => set({ rpo })} min={0} max={8760} help={t('When a VM has no good backup for so long. 0: never.')} />
        <NumberField id="job-prove" label={t('VMs proved after each run')} value={draft.prove} set={(prove) => set({ prove })} min={0} max={100} help={t('Restored for a moment, apart from every network, to see whether they boot.')} />
        <TextField id="job-ports" label={t('Ports that have to answer')} value={draft.ports} set={(ports) => set({ ports })} placeholder="22 443" wrong={parsePorts(draft.ports) ? undefined : t('Numbers from 1 to 65535, 16 at most.')} help={t('In a proof, over IPv6. Empty: it is enough that the guest says something.')} />
      </Grid>
      <QuiesceField id="job-quiesce" value={draft.quiesce} set={(quiesce) => set({ quiesce })} />
      <Grid hasGutter sm={6}>
        <TextField id="job-mail" label={t('Report by e-mail to')} value={draft.mail} set={(mail) => set({ mail })} placeholder="ops@example.org" help={t('Several with commas between them. Empty: nobody.')} />
        <ChoiceField
          id="job-mail-on"
          label={t('Which runs')}
          value={draft.mailOn}
          set={(mailOn) => set({ mailOn: mailOn as MailOn })}
          options={[
            ['always', t('Every run')],
            ['problems', t('Those with problems')],
          ]}
        />
      </Grid>
      <TextField id="job-webhook" label={t('Report to')} value={draft.webhook} set={(webhook) => set({ webhook })} placeholder="https://…" help={t('Gets the report of each run as JSON. Empty: nobody.')} />
    </FormSection>
  );
}

const YEARS = 5;

function Keep({ draft, set }: PartProps) {
  const { t } = useTranslation();
  const format = useFormat();
  const kept = inTheLongRun(draft.keep, hoursBetween(draft), 366 * YEARS);
  const oldest = kept.at(-1);
  return (
    <div className="x-stack">
      <FormSection title={t('For how long')} titleElement="h2">
        <p className="x-dim">{t('Of each period the newest backup is kept, for so many periods. Periods are in UTC.')}</p>
        <Grid hasGutter sm={6}>
          {RULES.map(([rule, label]) => (
            <NumberField key={rule} id={`keep-${rule}`} label={t(label)} value={draft.keep[rule]} set={(count) => set({ keep: { ...draft.keep, [rule]: count } })} min={0} max={9999} />
          ))}
        </Grid>
      </FormSection>
      <Card isCompact>
        <CardTitle component="h2">{t('In the long run')}</CardTitle>
        <CardBody>
          {keepsAll(draft.keep) ? (
            <Alert isInline isPlain variant="warning" title={t('Without a rule every backup is kept, for ever.')} />
          ) : (
            <>
              <p>{t('{{count}} backups of each VM, the oldest {{age}}.', { count: kept.length, age: format.ago(oldest?.created) })}</p>
              <Timeline kept={kept.map(({ created }) => created)} />
            </>
          )}
        </CardBody>
      </Card>
    </div>
  );
}

/** Each backup as a mark, the newest on the left; ages grow by powers, so that days and years have room. */
function Timeline({ kept }: { kept: string[] }) {
  const { t } = useTranslation();
  const now = Date.now();
  const place = (days: number) => (Math.log1p(Math.max(0, days)) / Math.log1p(366 * YEARS)) * 100;
  const marks: [number, string][] = [
    [1, t('a day')],
    [7, t('a week')],
    [31, t('a month')],
    [366, t('a year')],
  ];
  return (
    <svg viewBox="0 0 100 14" className="x-timeline" role="img" aria-label={t('{{count}} backups on a line of time', { count: kept.length })} preserveAspectRatio="none">
      <line x1="0" x2="100" y1="6" y2="6" className="x-axis" vectorEffect="non-scaling-stroke" />
      {kept.map((created) => (
        <line key={created} x1={place((now - new Date(created).getTime()) / 86_400_000)} x2={place((now - new Date(created).getTime()) / 86_400_000)} y1="1" y2="11" className="x-mark" vectorEffect="non-scaling-stroke" />
      ))}
      {marks.map(([days, label]) => (
        <g key={label}>
          <title>{label}</title>
          <line x1={place(days)} x2={place(days)} y1="11" y2="14" className="x-axis" vectorEffect="non-scaling-stroke" />
        </g>
      ))}
    </svg>
  );
}
