// Brings a VM, or disks of it, back: as what, which disks, where to.

import { ActionGroup, Button, Checkbox, Form, FormGroup, FormSection, PageSection, Radio } from '@patternfly/react-core';
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useNavigate, useParams } from 'react-router';
import { useRead } from '../../api/client';
import type { Backup } from '../../api/generated';
import { useActs } from '../../parts/acts';
import { Alert } from '../../parts/Alert';
import { Failed, Loading, Nothing } from '../../parts/feedback';
import { TextField, useVmNameProblem } from '../../parts/fields';
import { useFormat } from '../../parts/format';
import { PageHead } from '../../parts/PageHead';
import { TypeName } from '../../parts/TypeName';
import { useDraft } from '../../parts/useDraft';
import { WaitsFor } from '../../parts/WaitsFor';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { Place, type PlaceProps } from './Place';
import { emptyRestore, keptOfRestore, restoreParams, restoreReady } from './restore';

export default function Restore() {
  const { t } = useTranslation();
  const user = useUser();
  const { repository = '', backup = '' } = useParams();
  const read = useRead('backup.get', { backup, repository });
  const why = mayNot(user, 'backup.restore');
  if (why) return <Nothing title={t('You cannot restore')}>{t(why)}</Nothing>;
  if (read.isPending) return <Loading />;
  if (!read.data) return <Failed error={read.error} retry={() => void read.refetch()} />;
  return <RestoreForm key={`${repository} ${backup}`} backup={read.data} />;
}

function RestoreForm({ backup }: { backup: Backup }) {
  const { t } = useTranslation();
  const format = useFormat();
  const navigate = useNavigate();
  const { run, copy } = useActs();
  const [empty, kept] = useMemo(() => [emptyRestore(backup), keptOfRestore(backup)], [backup]);
  const { draft, set } = useDraft(empty, kept);
  const [busy, setBusy] = useState(false);
  const act = { method: 'backup.restore' as const, params: restoreParams(backup, draft), title: t('Restore {{name}}', { name: backup.vm_name }) };
  const ready = restoreReady(backup, draft);
  const submit = async (event: React.FormEvent) => {
    event.preventDefault();
    if (!ready || busy) return;
    setBusy(true);
    const started = await run(act);
    setBusy(false);
    if (started) void navigate(draft.as === 'disks' || !started.object ? `/tasks/${started.task}` : `/vms/${started.object}`);
  };
  const props = { backup, draft, set };
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <PageHead up={['/backups', t('Backups')]} title={t('Restore {{name}}', { name: backup.vm_name })} below={<span>{t('As it was {{when}}, from {{repository}}', { when: format.date(backup.created), repository: backup.repository_name })}</span>} />
      <Form id="restore-form" className="x-form" onSubmit={(event) => void submit(event)}>
        <div className="x-columns">
          <As {...props} />
          <Disks {...props} />
        </div>
        <ActionGroup>
          <Button type="submit" variant={draft.as === 'in_place' ? 'danger' : 'primary'} isDisabled={!ready} isLoading={busy}>
            {t('Restore')}
          </Button>
          <Button variant="secondary" isDisabled={!ready} onClick={() => copy(act)}>
            {t('Copy as …')}
          </Button>
          <Button variant="link" component={(props) => <Link {...props} to="/backups" />}>
            {t('Cancel')}
          </Button>
          <WaitsFor form="restore-form" ready={ready} />
        </ActionGroup>
      </Form>
    </PageSection>
  );
}

function As({ backup, draft, set }: PlaceProps) {
  const { t } = useTranslation();
  const wrong = useVmNameProblem(draft.name);
  const ways = [
    ['new_vm', t('A new VM'), t('With new MAC addresses. What is there now stays as it is.')],
    ['in_place', t('Into the VM that it is of'), t('It has to be stopped. What its disks hold now is lost.')],
    ['disks', t('Disks alone'), t('New disks that no VM has.')],
  ] as const;
  return (
    <FormSection title={t('As what')} titleElement="h2">
      <FormGroup role="radiogroup" fieldId="restore-as" label={t('It becomes')}>
        {ways.map(([as, label, text]) => (
          <Radio key={as} id={`restore-${as}`} name="restore-as" label={label} description={text} isDisabled={as !== 'disks' && !backup.vm} isChecked={draft.as === as} onChange={() => set({ as })} />
        ))}
      </FormGroup>
      {!backup.vm && <Alert isInline isPlain variant="info" title={t('It has no definition of a VM that can be read: only its disks can be restored.')} />}
      {draft.as === 'new_vm' && <TextField id="restore-name" label={t('Name')} value={draft.name} set={(name) => set({ name })} wrong={wrong} help={t('Empty: the old one with the time of the backup.')} />}
      {draft.as !== 'in_place' && <Place {...{ backup, draft, set }} />}
      {draft.as !== 'disks' && <Checkbox id="restore-start" label={t('Start it when it is there')} isChecked={draft.start} onChange={(_event, start) => set({ start })} />}
      {draft.as === 'new_vm' && (
        <Checkbox id="restore-instant" label={t('Start it at once')} description={t('It reads from the backup what is not there yet, and its disks come in behind.')} isChecked={draft.instant} onChange={(_event, instant) => set({ instant })} />
      )}
      {draft.as === 'in_place' && <TypeName id="restore-typed" name={backup.vm_name} value={draft.typed} set={(typed) => set({ typed })} />}
    </FormSection>
  );
}

function Disks({ backup, draft, set }: PlaceProps) {
  const { t } = useTranslation();
  const format = useFormat();
  return (
    <FormSection title={t('Which disks')} titleElement="h2">
      <FormGroup role="group" label={t('Disks')} isRequired>
        {backup.disks.map(({ name, size }) => (
          <Checkbox
            key={name}
            id={`restore-disk-${name}`}
            label={name}
            description={format.bytes(size)}
            isChecked={draft.disks.includes(name)}
            onChange={(_event, on) => set({ disks: on ? [...draft.disks, name] : draft.disks.filter((one) => one !== name) })}
          />
        ))}
      </FormGroup>
    </FormSection>
  );
}
