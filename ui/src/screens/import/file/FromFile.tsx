// A VM from a file of this computer: which file, what becomes of it here, checked before anything is made; then its disks
// are sent while one looks at other pages.

import { Button, PageSection, Wizard, WizardFooterWrapper, WizardStep, useWizardContext } from '@patternfly/react-core';
import { useEffect, useRef, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import { uploads } from '../../../live/uploads';
import { useActs } from '../../../parts/acts';
import { Nothing } from '../../../parts/feedback';
import { PageHead } from '../../../parts/PageHead';
import { mayNot } from '../../../rules/may';
import { useUser } from '../../../shell/user';
import { ChooseFile } from './ChooseFile';
import { EMPTY_FILE, machineReady, sizeOf, uploadParams, type FileDraft } from './draft';
import { Machine } from './Machine';
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
  const [draft, setDraft] = useState<FileDraft>(EMPTY_FILE);
  const [busy, setBusy] = useState(false);
  const set = (part: Partial<FileDraft>) => setDraft((before) => ({ ...before, ...part }));
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
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <PageHead up={['/imports', t('Imports')]} title={t('Make a VM from a file')} />
      <Wizard className="x-wizard" navAriaLabel={t('Steps')} onClose={() => void navigate('/imports')}>
        <WizardStep name={t('File')} id="file" footer={<Footer ready={!!found} />}>
          <ChooseFile {...props} />
        </WizardStep>
        <WizardStep name={t('The VM')} id="file-vm" isDisabled={!found} footer={<Footer ready={fine} />}>
          <Machine {...props} />
        </WizardStep>
        <WizardStep name={t('Review')} id="file-review" isDisabled={!fine} footer={<Footer ready={fine} last={{ busy, go: () => void begin(), copy: () => act && copy(act) }} />}>
          {act && found && <Review params={act.params} found={found} />}
        </WizardStep>
      </Wizard>
    </PageSection>
  );
}

function Footer({ ready, last }: { ready: boolean; last?: { busy: boolean; go(): void; copy(): void } }) {
  const { t } = useTranslation();
  const { goToNextStep, goToPrevStep, activeStep, close } = useWizardContext();
  return (
    <WizardFooterWrapper>
      <Button variant="secondary" isDisabled={activeStep.index <= 1} onClick={() => void goToPrevStep()}>
        {t('Back')}
      </Button>
      {last ? (
        <>
          <Button isDisabled={!ready} isLoading={last.busy} onClick={last.go}>
            {t('Begin')}
          </Button>
          <Button variant="secondary" isDisabled={!ready} onClick={last.copy}>
            {t('Copy as …')}
          </Button>
        </>
      ) : (
        <Button isDisabled={!ready} onClick={() => void goToNextStep()}>
          {t('Next')}
        </Button>
      )}
      <Button variant="link" onClick={close}>
        {t('Cancel')}
      </Button>
    </WizardFooterWrapper>
  );
}
