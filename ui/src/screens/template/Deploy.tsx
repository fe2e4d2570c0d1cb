// A VM from a template: what it is to have beside, what its cloud-init is told, and that as the guest will read it.

import { ActionGroup, Button, Checkbox, CodeBlock, CodeBlockCode, Form, FormGroup, FormSection, Grid, PageSection, Radio } from '@patternfly/react-core';
import { useState } from 'react';
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
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { cloudProblem, preview, type CloudDraft } from './cloudInit';
import { deployParams, deployReady, diskGib, emptyDeploy, type DeployDraft } from './draft';

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
  const [draft, setDraft] = useState<DeployDraft>(() => emptyDeploy(template));
  const [busy, setBusy] = useState(false);
  const set = (part: Partial<DeployDraft>) => setDraft((before) => ({ ...before, ...part }));
  const act = { method: 'template.deploy' as const, params: deployParams(template, draft), title: t('Deploy {{name}}', { name: draft.name }) };
  const fine = deployReady(draft) && template.ready;
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
        className="x-form"
        onSubmit={(event) => {
          event.preventDefault();
          void submit();
        }}
      >
        <div className="x-columns">
          <Machine template={template} draft={draft} set={set} />
          <Cloud name={draft.name} cloud={draft.cloud} set={(cloud) => set({ cloud: { ...draft.cloud, ...cloud } })} />
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

function Cloud({ name, cloud, set }: { name: string; cloud: CloudDraft; set(part: Partial<CloudDraft>): void }) {
  const { t } = useTranslation();
  const problem = cloudProblem(cloud);
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
      </FormGroup>
      {cloud.kind !== 'none' && (
        <>
          <TextField id="cloud-hostname" label={t('Host name')} value={cloud.hostname} set={(hostname) => set({ hostname })} help={t('Empty: the name of the VM.')} />
          {cloud.kind === 'keys' ? (
            <AreaField id="cloud-keys" label={t('SSH keys')} value={cloud.keys} set={(keys) => set({ keys })} rows={3} placeholder="ssh-ed25519 AAAA… ann@laptop" help={t('Public keys of the image’s default user, one a line.')} />
          ) : (
            <AreaField id="cloud-user-data" label={t('User-data')} value={cloud.userData} set={(userData) => set({ userData })} rows={10} help={t('Given to the guest as it is; ${name} and ${hostname} in it are replaced.')} />
          )}
          <AreaField id="cloud-network" label={t('Network configuration')} value={cloud.network} set={(network) => set({ network })} rows={3} placeholder="version: 2" help={t('Version 1 or 2 of cloud-init’s, in YAML. Empty: DHCP, as the image has it.')} />
          {problem && <Alert isInline isPlain variant="danger" title={t(problem)} />}
          <FormGroup label={t('What the guest will read')} fieldId="cloud-preview">
            <CodeBlock id="cloud-preview">
              <CodeBlockCode className="x-preview">{preview(cloud, name || 'NAME')}</CodeBlockCode>
            </CodeBlock>
          </FormGroup>
        </>
      )}
    </FormSection>
  );
}
