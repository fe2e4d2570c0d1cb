// Makes a VM: step by step, its place explained, checked before it is done.

import { Breadcrumb, BreadcrumbItem, Button, PageSection, Wizard, WizardFooterWrapper, WizardStep, useWizardContext } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useNavigate } from 'react-router';
import { useActs } from '../../../parts/acts';
import { Nothing } from '../../../parts/feedback';
import { PageTitle } from '../../../parts/PageTitle';
import { useUnsaved } from '../../../parts/unsaved';
import { WaitsFor } from '../../../parts/WaitsFor';
import { mayNot } from '../../../rules/may';
import { useUser } from '../../../shell/user';
import { Basics, BASICS } from './Basics';
import { EMPTY, params, ready, type Draft } from './draft';
import { Hardware, HARDWARE } from './Hardware';
import { Origins } from './Origins';
import { Placing } from './Placing';
import { Review } from './Review';

export interface StepProps {
  draft: Draft;
  set(part: Partial<Draft>): void;
}

export default function NewVm() {
  const { t } = useTranslation();
  const user = useUser();
  const navigate = useNavigate();
  const { run, copy } = useActs();
  const [draft, setDraft] = useState<Draft>(EMPTY);
  const [busy, setBusy] = useState(false);
  const set = (part: Partial<Draft>) => setDraft((before) => ({ ...before, ...part }));
  const act = { method: 'vm.create' as const, params: params(draft), title: t('Create {{name}}', { name: draft.name }) };
  useUnsaved(draft.name !== '');
  const why = mayNot(user, 'vm.create');
  if (why) return <Nothing title={t('You cannot create VMs')}>{t(why)}</Nothing>;
  const create = async () => {
    setBusy(true);
    const started = await run(act);
    setBusy(false);
    if (started) void navigate(started.object ? `/vms/${started.object}` : `/tasks/${started.task}`);
  };
  const basics = ready.basics(draft);
  const hardware = ready.hardware(draft);
  const props = { draft, set };
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <Breadcrumb aria-label={t('Where this is')}>
        <BreadcrumbItem render={({ className }) => <Link className={className} to="/vms">{t('Virtual machines')}</Link>} />
        <BreadcrumbItem isActive>{t('Create a VM')}</BreadcrumbItem>
      </Breadcrumb>
      <PageTitle>{t('Create a VM')}</PageTitle>
      <Origins />
      <Wizard className="x-wizard" navAriaLabel={t('Steps')} onClose={() => void navigate('/vms')}>
        <WizardStep name={t('Name and kind')} id="basics" footer={<Footer form={BASICS} ready={basics} />}>
          <Basics {...props} />
        </WizardStep>
        <WizardStep name={t('Hardware')} id="hardware" isDisabled={!basics} footer={<Footer form={HARDWARE} ready={hardware} />}>
          <Hardware {...props} />
        </WizardStep>
        <WizardStep name={t('Placement')} id="place" isDisabled={!basics || !hardware} footer={<Footer ready />}>
          <Placing {...props} />
        </WizardStep>
        <WizardStep
          name={t('Review')}
          id="review"
          isDisabled={!basics || !hardware}
          footer={<Footer ready busy={busy} finish={{ label: t('Create'), go: () => void create(), copy: () => copy(act) }} />}
        >
          <Review {...props} />
        </WizardStep>
      </Wizard>
    </PageSection>
  );
}

interface FooterProps {
  /** Of the step, where it asks for something. */
  form?: string;
  ready: boolean;
  busy?: boolean;
  finish?: { label: string; go(): void; copy(): void };
}

function Footer({ form, ready, busy, finish }: FooterProps) {
  const { t } = useTranslation();
  const { goToNextStep, goToPrevStep, activeStep, close } = useWizardContext();
  return (
    <WizardFooterWrapper>
      <Button variant="secondary" isDisabled={activeStep.index <= 1} onClick={() => void goToPrevStep()}>
        {t('Back')}
      </Button>
      {finish ? (
        <>
          <Button isLoading={busy} isDisabled={busy} onClick={finish.go}>
            {finish.label}
          </Button>
          <Button variant="secondary" onClick={finish.copy}>
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
      {form && <WaitsFor form={form} ready={ready} />}
    </WizardFooterWrapper>
  );
}
