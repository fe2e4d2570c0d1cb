// A VM from a template: what it is to have beside, what its cloud-init is told, and that as the guest will read it.

import { ActionGroup, Button, Checkbox, CodeBlock, CodeBlockCode, Form, FormGroup, FormSection, Grid, PageSection, Radio } from '@patternfly/react-core';
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useNavigate, useParams } from 'react-router';
import { useRead } from '../../api/client';
import type { Template } from '../../api/generated';
import { useActs } from '../../parts/acts';
import { Alert } from '../../parts/Alert';
import { Failed, Loading, Nothing } from '../../parts/feedback';
import { AreaField, Help, NumberField, TextField, useNetworkOptions, useVmNameProblem } from '../../parts/fields';
import { useFormat } from '../../parts/format';
import { useNames } from '../../parts/names';
import { PageHead } from '../../parts/PageHead';
import { useUnsaved } from '../../parts/unsaved';
import { useDraft } from '../../parts/useDraft';
import { WaitsFor } from '../../parts/WaitsFor';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { filled, variablesIn } from '../fragment/kind';
import { useFragmentParts, useFragments, type Part } from '../fragment/parts';
import { FragmentPicker } from '../fragment/Picker';
import { cloudProblem, ownTexts, preview, values, type CloudDraft } from './cloudInit';
import { deployParams, deployReady, diskGib, emptyDeploy, fragmentsOf, KEPT_OF_DEPLOY, losesText, type DeployDraft } from './draft';

const FORM = 'deploy-form';

export default function Deploy() {
  const { t } = useTranslation();
  const user = useUser();
  const { template: reference = '' } = useParams();
  const read = useRead('template.get', { template: reference });
  const why = mayNot(user, 'template.deploy', { pool: read.data?.pool });
  if (read.isPending) return <Loading />;
  if (!read.data) return <Failed error={read.error} retry={() => void read.refetch()} />;
  if (why) return <Nothing title={t('You cannot create VMs here')}>{t(why)}</Nothing>;
  return <DeployForm key={read.data.id} template={read.data} />;
}

function DeployForm({ template }: { template: Template }) {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const names = useNames();
  const { run, copy } = useActs();
  const { draft, set } = useDraft(useMemo(() => emptyDeploy(template), [template]), KEPT_OF_DEPLOY);
  const [busy, setBusy] = useState(false);
  const parts = useFragmentParts(fragmentsOf(template, draft));
  const problem = cloudProblem(draft.cloud, parts);
  const act = { method: 'template.deploy' as const, params: deployParams(template, draft), title: t('Deploy {{name}}', { name: draft.name }) };
  const fine = deployReady(draft, parts) && template.ready;
  useUnsaved(losesText(draft));
  const submit = async () => {
    if (!fine || busy) return;
    setBusy(true);
    const started = await run(act);
    setBusy(false);
    if (started) void navigate(started.object ? `/vms/${started.object}` : `/tasks/${started.task}`);
  };
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <PageHead
        up={['/templates', t('Templates')]}
        title={t('A VM from {{name}}', { name: template.name })}
        below={<span>{t('On {{host}}, where the template’s disks are.', { host: names.host(template.host) })}</span>}
      />
      {!template.ready && <Alert isInline variant="warning" title={t('The template is not complete yet')} />}
      <Form
        id={FORM}
        className="x-form"
        onSubmit={(event) => {
          event.preventDefault();
          void submit();
        }}
      >
        <div className="x-columns">
          <Machine template={template} draft={draft} set={set} />
          <Cloud template={template} parts={parts} name={draft.name} cloud={draft.cloud} set={(cloud) => set({ cloud: { ...draft.cloud, ...cloud } })} />
        </div>
        <ActionGroup>
          <Button type="submit" isDisabled={!fine} isLoading={busy}>
            {t('Deploy')}
          </Button>
          <Button variant="secondary" isDisabled={!fine} onClick={() => copy(act)}>
            {t('Copy as …')}
          </Button>
          <Button variant="link" component={(props) => <Link {...props} to={`/templates/${template.id}`} />}>
            {t('Cancel')}
          </Button>
          <WaitsFor form={FORM} ready={fine} otherwise={template.ready ? problem && t('Still to be filled in or corrected: {{fields}}.', { fields: t('What cloud-init is told') }) : t('The template is not complete yet')} />
        </ActionGroup>
      </Form>
    </PageSection>
  );
}

function Machine({ template, draft, set }: { template: Template; draft: DeployDraft; set(part: Partial<DeployDraft>): void }) {
  const { t } = useTranslation();
  const format = useFormat();
  const networks = useNetworkOptions();
  const wrong = useVmNameProblem(draft.name);
  return (
    <FormSection title={t('The VM')} titleElement="h2">
      <TextField id="deploy-name" label={t('Name')} value={draft.name} set={(name) => set({ name })} required autoFocus wrong={wrong} />
      <Grid hasGutter sm={6}>
        <NumberField id="deploy-vcpus" label={t('vCPUs')} value={draft.vcpus} set={(vcpus) => set({ vcpus })} min={1} max={512} />
        <NumberField id="deploy-memory" label={t('Memory (MiB)')} value={draft.memory} set={(memory) => set({ memory })} min={1} step={256} help={format.mib(draft.memory)} />
        {template.disks.length > 0 && (
          <NumberField id="deploy-disk" label={t('First disk (GiB)')} value={draft.gib} set={(gib) => set({ gib })} min={diskGib(template)} max={65536} help={t('It grows to this; the guest’s cloud-init grows the file system.')} />
        )}
      </Grid>
      <FormGroup label={t('Networks')} role="group">
        {networks.length === 0 && <Help>{t('There is no network yet. The VM can get a NIC later.')}</Help>}
        {networks.map(([id, label]) => (
          <Checkbox key={id} id={`deploy-nic-${id}`} label={label} isChecked={draft.nics.includes(id)} onChange={(_event, on) => set({ nics: on ? [...draft.nics, id] : draft.nics.filter((one) => one !== id) })} />
        ))}
      </FormGroup>
      <TextField id="deploy-tags" label={t('Tags')} value={draft.tags} set={(tags) => set({ tags })} help={t('Words with spaces between. Roles may hang on tags.')} />
      <TextField id="deploy-description" label={t('Description')} value={draft.description} set={(description) => set({ description })} />
      <Checkbox id="deploy-start" label={t('Start it when it is made')} isChecked={draft.start} onChange={(_event, start) => set({ start })} />
    </FormSection>
  );
}

interface CloudProps {
  template: Template;
  /** The fragments, the template's and those that are chosen here. */
  parts: Part[];
  name: string;
  cloud: CloudDraft;
  set(part: Partial<CloudDraft>): void;
}

function Cloud({ template, parts, name, cloud, set }: CloudProps) {
  const { t } = useTranslation();
  const problem = cloudProblem(cloud, parts);
  const kinds = [
    ['keys', t('Name and SSH keys')],
    ['own', t('My own user-data')],
    ['none', t('Nothing: the guest gets no disk for cloud-init')],
  ] as const;
  return (
    <FormSection title={t('What cloud-init is told')} titleElement="h2">
      <FormGroup role="radiogroup" fieldId="cloud-kind" label={t('At the first boot')}>
        {kinds.map(([kind, label]) => (
          <Radio key={kind} id={`cloud-kind-${kind}`} name="cloud-kind" label={label} isChecked={cloud.kind === kind} onChange={() => set({ kind })} />
        ))}
        {cloud.kind === 'none' && !!template.fragments?.length && <Help>{t('Nor does it get the fragments of the template.')}</Help>}
      </FormGroup>
      {cloud.kind !== 'none' && (
        <>
          <Stored template={template} cloud={cloud} set={set} />
          <TextField id="cloud-hostname" label={t('Host name')} value={cloud.hostname} set={(hostname) => set({ hostname })} help={t('Empty: the name of the VM.')} />
          {cloud.kind === 'keys' ? (
            <AreaField id="cloud-keys" label={t('SSH keys')} value={cloud.keys} set={(keys) => set({ keys })} rows={3} placeholder="ssh-ed25519 AAAA… ann@laptop" help={t('Public keys of the image’s default user, one a line.')} />
          ) : (
            <AreaField id="cloud-user-data" label={t('User-data')} value={cloud.userData} set={(userData) => set({ userData })} rows={10} help={t('Given to the guest as it is; ${name}, ${hostname} and the variables in it are replaced.')} />
          )}
          <AreaField id="cloud-network" label={t('Network configuration')} value={cloud.network} set={(network) => set({ network })} rows={3} placeholder="version: 2" help={t('Version 1 or 2 of cloud-init’s, in YAML. Empty: DHCP, as the image has it.')} />
          <Variables parts={parts} cloud={cloud} set={set} />
          {problem && <Alert isInline isPlain variant="danger" title={t(problem)} />}
          <Preview parts={parts} name={name || 'NAME'} cloud={cloud} />
        </>
      )}
    </FormSection>
  );
}

/** Fragments: the template's, which come in any case, and more behind them. */
function Stored({ template, cloud, set }: Pick<CloudProps, 'template' | 'cloud' | 'set'>) {
  const { t } = useTranslation();
  const { all, name } = useFragments();
  const before = template.fragments ?? [];
  const options = all.filter(({ id, pool }) => pool === template.pool && !before.includes(id));
  if (before.length + options.length === 0) return null;
  const help = before.length > 0 ? t('Behind those of the template: {{names}}. Of two values the later one holds, and what is said below holds before all.', { names: before.map(name).join(', ') }) : t('Of two values the later one holds, and what is said below holds before all.');
  return <FragmentPicker id="cloud-fragments" label={t('Fragments')} value={cloud.fragments} set={(fragments) => set({ fragments })} options={options} help={help} />;
}

/** Only where there is something that they could replace. */
function Variables({ parts, cloud, set }: Pick<CloudProps, 'parts' | 'cloud' | 'set'>) {
  const { t } = useTranslation();
  const places = variablesIn([...ownTexts(cloud), ...parts.map(({ text }) => text ?? '')]);
  if (places.length === 0 && cloud.variables === '') return null;
  return (
    <AreaField
      id="cloud-variables"
      label={t('Variables')}
      value={cloud.variables}
      set={(variables) => set({ variables })}
      rows={3}
      placeholder="role=web"
      help={t('KEY=VALUE, one a line. In the texts: {{places}}. What has no value here is left as it is, for scripts have their own.', { places: places.map((place) => `\${${place}}`).join(' ') || '—' })}
    />
  );
}

function Preview({ parts, name, cloud }: Pick<CloudProps, 'parts' | 'name' | 'cloud'>) {
  const { t } = useTranslation();
  const known = values(cloud, name);
  const own = { id: 'own', name: t('Of this VM alone'), shown: preview(cloud, name) };
  const shown = parts.map((part) => ({ id: part.id, name: part.name, shown: part.text === undefined ? t('Not read yet.') : filled(part.text, known) }));
  return (
    <FormGroup role="group" label={t('What the guest will read')} fieldId="cloud-preview">
      {[...shown, own].map((part, at) => (
        <div key={part.id}>
          {parts.length > 0 && (
            <p className="x-dim">
              {at + 1}. {part.name}
            </p>
          )}
          {/* A long one is scrolled, with the keys too. */}
          <div className="x-preview" tabIndex={0} role="region" aria-label={part.name}>
            <CodeBlock>
              <CodeBlockCode>{part.shown}</CodeBlockCode>
            </CodeBlock>
          </div>
        </div>
      ))}
    </FormGroup>
  );
}
