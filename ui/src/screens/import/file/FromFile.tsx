// A VM from a file of this computer: which file, what becomes of it here, checked before anything is made; then its disks
// are sent while one looks at other pages.

import { Button, PageSection } from '@patternfly/react-core';
import { useEffect, useRef, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import { uploads } from '../../../live/uploads';
import { useActs } from '../../../parts/acts';
import { Nothing } from '../../../parts/feedback';
import { PageHead } from '../../../parts/PageHead';
import { Steps, type Step } from '../../../parts/Steps';
import { useDraft } from '../../../parts/useDraft';
import { mayNot } from '../../../rules/may';
import { useUser } from '../../../shell/user';
import { ChooseFile } from './ChooseFile';
import { EMPTY_FILE, KEPT_OF_FILE, machineReady, sizeOf, uploadParams, type FileDraft } from './draft';
import { Machine, MACHINE } from './Machine';
import { Review } from './Review';

export interface StepProps {
  draft: FileDraft;
  set(part: Partial<FileDraft>): void;
}

export default function FromFile() {
  const { t } = useTranslation();
  const user = useUser();
  const navigate = useNavigate();
  const { run, copy } = useActs();
  const at = useDraft(EMPTY_FILE, KEPT_OF_FILE);
  const { draft, set } = at;
  // A file cannot stand in an address: it is chosen again, and what the address said goes before what the file says.
  const [asked, ask] = useState(at.asked);
  const [busy, setBusy] = useState(false);
  // What is not sent is not kept open.
  const held = useRef<FileDraft['source']>(undefined);
  useEffect(() => {
    held.current = draft.source;
  }, [draft.source]);
  useEffect(() => () => held.current?.close(), []);
  const why = mayNot(user, 'import.upload');
  if (why) return <Nothing title={t('You cannot create VMs')}>{t(why)}</Nothing>;
  const { source, found } = draft;
  const fine = !!found && machineReady(draft);
  const act = found && source && { method: 'import.upload' as const, params: uploadParams(draft, found, source.file.name), title: t('Import {{name}}', { name: draft.name }) };
  const begin = async () => {
    if (!act || !source || !found || busy) return;
    setBusy(true);
    const started = await run(act);
    setBusy(false);
    if (!started?.object) return;
    held.current = undefined;
    void uploads.beginVm({ id: started.object, task: started.task, name: draft.name, size: sizeOf(found) }, source, 'ours');
    void navigate(`/imports/${started.object}`);
  };
  const props = { draft, set };
  const steps: Step[] = [
    { id: 'file', name: t('File'), ready: !!found, waits: t('It waits for a file that can be read.'), body: <ChooseFile {...props} asked={asked} taken={() => ask({})} /> },
    { id: 'file-vm', name: t('The VM'), ready: fine, form: MACHINE, body: <Machine {...props} /> },
    { id: 'file-review', name: t('Review'), ready: fine, body: act && found && <Review params={act.params} found={found} /> },
  ];
  const finish = (
    <>
      <Button isDisabled={!fine} isLoading={busy} onClick={() => void begin()}>
        {t('Begin')}
      </Button>
      <Button variant="secondary" isDisabled={!fine} onClick={() => act && copy(act)}>
        {t('Copy as …')}
      </Button>
    </>
  );
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <PageHead up={['/imports', t('Imports')]} title={t('Make a VM from a file')} />
      <Steps steps={steps} at={at} finish={finish} leave={() => void navigate('/imports')} />
    </PageSection>
  );
}
