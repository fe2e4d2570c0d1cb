// A VM elsewhere that stands by for another: where, whose backups it follows, and its networks there.

import { ActionGroup, Button, Checkbox, Form, FormGroup, FormSection, PageSection, TextInput } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useNavigate } from 'react-router';
import { useRead } from '../../api/client';
import type { Vm } from '../../api/generated';
import { useAll } from '../../list/all';
import { quoted } from '../../list/filter';
import { useActs } from '../../parts/acts';
import { Alert } from '../../parts/Alert';
import { Nothing } from '../../parts/feedback';
import { ChoiceField, Help, TextField, useSrOptions, useVmNameProblem } from '../../parts/fields';
import { NetworkMap, usePlaces } from '../../parts/NetworkMap';
import { PageHead } from '../../parts/PageHead';
import { useDraft } from '../../parts/useDraft';
import { WaitsFor } from '../../parts/WaitsFor';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { NoRepository } from '../backup/NoRepository';
import { createStandby, EMPTY_STANDBY, KEPT_OF_STANDBY, standbyReady, type StandbyDraft } from './draft';

const ID = /^[0-9a-f]{8}-/;
const OFFERED = 10;

interface PartProps {
  draft: StandbyDraft;
  set(part: Partial<StandbyDraft>): void;
  vm?: Vm;
}

export default function NewStandby() {
  const { t } = useTranslation();
  const user = useUser();
  const why = mayNot(user, 'standby.create');
  if (why) return <Nothing title={t('You cannot make standbys')}>{t(why)}</Nothing>;
  return <StandbyForm />;
}

function StandbyForm() {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const { run, copy } = useActs();
  const { draft, set } = useDraft(EMPTY_STANDBY, KEPT_OF_STANDBY);
  const [busy, setBusy] = useState(false);
  const read = useRead('vm.get', { vm: draft.vm }, { enabled: draft.vm !== '' });
  const vm = read.data;
  const act = { method: 'standby.create' as const, params: createStandby(vm?.id ?? '', draft), title: t('Make a standby of {{name}}', { name: vm?.name ?? draft.vm }) };
  const ready = standbyReady(vm?.id, draft) && !vm?.standby_of;
  const submit = async (event: React.FormEvent) => {
    event.preventDefault();
    if (!ready || busy) return;
    setBusy(true);
    const started = await run(act);
    setBusy(false);
    if (started) void navigate(started.object ? `/standbys/${started.object}` : '/standbys');
  };
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <PageHead up={['/standbys', t('Standbys')]} title={t('Make a standby')} />
      <Form id="standby-form" className="x-form" onSubmit={(event) => void submit(event)}>
        <div className="x-columns">
          <div className="x-stack">
            <Of draft={draft} set={set} vm={vm} wrong={read.error?.message} />
            <Where draft={draft} set={set} vm={vm} />
          </div>
          <How draft={draft} set={set} vm={vm} />
        </div>
        <ActionGroup>
          <Button type="submit" isDisabled={!ready} isLoading={busy}>
            {t('Make it')}
          </Button>
          <Button variant="secondary" isDisabled={!ready} onClick={() => copy(act)}>
            {t('Copy as …')}
          </Button>
          <Button variant="link" component={(props) => <Link {...props} to="/standbys" />}>
            {t('Cancel')}
          </Button>
          <WaitsFor form="standby-form" ready={ready} />
        </ActionGroup>
      </Form>
    </PageSection>
  );
}

function Of({ draft, set, vm, wrong }: PartProps & { wrong?: string }) {
  const { t } = useTranslation();
  const byId = ID.test(draft.vm);
  const found = useRead('vm.list', { filter: draft.vm && !byId ? `name:${quoted(draft.vm)}` : '', limit: OFFERED }, { enabled: !byId });
  return (
    <FormSection title={t('For which VM')} titleElement="h2">
      <FormGroup label={t('VM')} fieldId="standby-vm" isRequired>
        <TextInput id="standby-vm" list="standby-vms" value={byId && vm ? vm.name : draft.vm} isRequired autoComplete="off" autoFocus={draft.vm === ''} onChange={(_event, vm) => set({ vm, networks: {} })} />
        <datalist id="standby-vms">
          {found.data?.items.map(({ id, name, host_name }) => (
            <option key={id} value={name}>
              {host_name ?? ''}
            </option>
          ))}
        </datalist>
        {draft.vm !== '' && wrong && <Help wrong>{wrong}</Help>}
        {vm && <Help>{vm.spec?.disks?.length ? t('It follows its backups: the VM has to be backed up into the repository.') : t('It has no disks.')}</Help>}
      </FormGroup>
      {vm?.standby_of && <Alert isInline isPlain variant="warning" title={t('It stands by for another VM')} />}
    </FormSection>
  );
}

function Where({ draft, set, vm }: PartProps) {
  const { t } = useTranslation();
  const places = usePlaces(draft.host);
  const srs = useSrOptions(draft.host);
  const had = [...new Set((vm?.spec?.nics ?? []).map(({ network }) => network))];
  return (
    <FormSection title={t('Where to')} titleElement="h2">
      <ChoiceField id="standby-host" required label={t('Host')} value={draft.host} set={(host) => set({ host, sr: '', networks: {} })} options={places.hosts} none={draft.host ? undefined : t('Choose one')} />
      {draft.host !== '' && draft.host === vm?.host && <Alert isInline isPlain variant="warning" title={t('The VM is on this host: both would be lost with it.')} />}
      {places.chosen && <ChoiceField id="standby-sr" label={t('Storage')} value={draft.sr} set={(sr) => set({ sr })} options={srs} none={t('The host’s own')} />}
      {places.chosen && <NetworkMap id="standby-network" had={had} places={places} value={draft.networks} set={(networks) => set({ networks })} />}
    </FormSection>
  );
}

function How({ draft, set, vm }: PartProps) {
  const { t } = useTranslation();
  const repositories = useAll('repository.list', {});
  const wrong = useVmNameProblem(draft.name);
  return (
    <FormSection title={t('How')} titleElement="h2">
      {repositories.data?.length === 0 ? (
        <NoRepository />
      ) : (
        <ChoiceField id="standby-repository" required label={t('Repository')} value={draft.repository} set={(repository) => set({ repository })} options={(repositories.data ?? []).map(({ id, name }) => [id, name])} none={draft.repository ? undefined : t('Choose one')} help={t('Its host reads from there what changed with each backup.')} />
      )}
      <TextField id="standby-name" label={t('Name')} value={draft.name} set={(name) => set({ name })} wrong={wrong} placeholder={vm ? `${vm.name}-standby` : undefined} help={t('Empty: the VM’s name with -standby.')} />
      <Checkbox
        id="standby-macs"
        label={t('Take the MAC addresses along')}
        description={t('A fail-over exchanges those of the two. Without it the standby has its own.')}
        isChecked={draft.keepMacs}
        onChange={(_event, keepMacs) => set({ keepMacs })}
      />
    </FormSection>
  );
}
