// Takes VMs out of vSphere: from where, which, what speaks against it, where to and when.

import { Button, PageSection, Wizard, WizardFooterWrapper, WizardStep, useWizardContext } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import { refresh, useSocket } from '../../../api/client';
import { messageOf } from '../../../api/errors';
import { Nothing } from '../../../parts/feedback';
import { PageHead } from '../../../parts/PageHead';
import { useActs } from '../../../parts/acts';
import { mayNot } from '../../../rules/may';
import { useUser } from '../../../shell/user';
import { Choose } from './Choose';
import { EMPTY_IMPORT, importParams, importReady, type ImportDraft } from './draft';
import { KeepWave } from './KeepWave';
import { Options } from './Options';
import { Plan, type Begun } from './Plan';
import { Source } from './Source';

export interface StepProps {
  draft: ImportDraft;
  set(part: Partial<ImportDraft>): void;
}

export default function NewImport() {
  const { t } = useTranslation();
  const user = useUser();
  const socket = useSocket();
  const navigate = useNavigate();
  const { copy } = useActs();
  const [draft, setDraft] = useState<ImportDraft>(EMPTY_IMPORT);
  const [begun, setBegun] = useState<Record<string, Begun>>();
  const [keeping, setKeeping] = useState(false);
  const set = (part: Partial<ImportDraft>) => (setDraft((before) => ({ ...before, ...part })), setBegun(undefined));
  const why = mayNot(user, 'import.start');
  if (why) return <Nothing title={t('You cannot take VMs out of vSphere')}>{t(why)}</Nothing>;
  // One after the other: each reads the source once more, and is told on its own.
  const begin = async () => {
    setBegun({});
    for (const vm of draft.vms) {
      const one = await socket.call('import.start', importParams(draft, vm)).then(
        (started): Begun => ({ import: started.object ?? '' }),
        (error): Begun => ({ error: messageOf(error) }),
      );
      setBegun((before) => ({ ...before, [vm.id]: one }));
    }
    refresh('import', 'task');
  };
  const first = draft.vms[0];
  const props = { draft, set };
  const chosen = draft.vms.length > 0;
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <PageHead up={['/imports', t('Imports')]} title={t('Take VMs out of vSphere')} />
      <Wizard className="x-wizard" navAriaLabel={t('Steps')} onClose={() => void navigate('/imports')}>
        <WizardStep name={t('Source')} id="import-source" footer={<Footer ready={draft.source !== ''} />}>
          <Source {...props} />
        </WizardStep>
        <WizardStep name={t('VMs')} id="import-vms" isDisabled={draft.source === ''} footer={<Footer ready={chosen} />}>
          <Choose {...props} />
        </WizardStep>
        <WizardStep name={t('Where and when')} id="import-options" isDisabled={!chosen} footer={<Footer ready={importReady(draft)} />}>
          <Options {...props} />
        </WizardStep>
        <WizardStep
          name={t('Plan')}
          id="import-plan"
          isDisabled={!chosen || !importReady(draft)}
          footer={
            <Footer
              ready={!begun}
              last={{ go: () => void begin(), keep: () => setKeeping(true), begun: !!begun, copy: () => first && copy({ method: 'import.start', params: importParams(draft, first), title: t('Import {{name}}', { name: first.name }) }) }}
            />
          }
        >
          <Plan {...props} begun={begun} />
        </WizardStep>
      </Wizard>
      {keeping && <KeepWave draft={draft} close={() => setKeeping(false)} />}
    </PageSection>
  );
}

function Footer({ ready, last }: { ready: boolean; last?: { go(): void; keep(): void; copy(): void; begun: boolean } }) {
  const { t } = useTranslation();
  const { goToNextStep, goToPrevStep, activeStep, close } = useWizardContext();
  return (
    <WizardFooterWrapper>
      <Button variant="secondary" isDisabled={activeStep.index <= 1} onClick={() => void goToPrevStep()}>
        {t('Back')}
      </Button>
      {last ? (
        <>
          <Button isDisabled={!ready} onClick={last.go}>
            {t('Begin')}
          </Button>
          <Button variant="secondary" isDisabled={!ready} onClick={last.keep}>
            {t('Keep them as a wave')}
          </Button>
          <Button variant="secondary" onClick={last.copy}>
            {t('Copy as …')}
          </Button>
        </>
      ) : (
        <Button isDisabled={!ready} onClick={() => void goToNextStep()}>
          {t('Next')}
        </Button>
      )}
      <Button variant="link" onClick={close}>
        {last?.begun ? t('Close') : t('Cancel')}
      </Button>
    </WizardFooterWrapper>
  );
}
