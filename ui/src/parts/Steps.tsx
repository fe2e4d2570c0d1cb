// A wizard whose step stands in its address. A step is reached when all before it are filled in; a link to one that is not
// leads to the first that waits for something.

import { Button, Wizard, WizardFooterWrapper, WizardStep, useWizardContext } from '@patternfly/react-core';
import { useEffect } from 'react';
import { useTranslation } from 'react-i18next';
import type { Drafted } from './useDraft';
import { WaitsFor } from './WaitsFor';

export interface Step {
  id: string;
  /** Translated, like every text here. */
  name: string;
  /** It is filled in. */
  ready: boolean;
  /** The id of its form, for who says what it waits for. */
  form?: string;
  /** What it waits for, where that is no field. */
  waits?: string;
  body: React.ReactNode;
}

interface Props {
  steps: Step[];
  at: Pick<Drafted<object>, 'step' | 'go' | 'settle'>;
  /** The buttons of the last step, in place of “Next”. */
  finish: React.ReactNode;
  leave(): void;
  /** Other than “Cancel”. */
  leaveLabel?: string;
}

export function Steps({ steps, at, finish, leave, leaveLabel }: Props) {
  const { t } = useTranslation();
  const open = steps.findIndex(({ ready }) => !ready);
  const last = open < 0 ? steps.length - 1 : open;
  const asked = Math.max(0, steps.findIndex(({ id }) => id === at.step));
  const shown = Math.min(asked, last);
  const { go, settle } = at;
  const nameOf = (place: number) => (place > 0 ? (steps[place]?.id ?? '') : '');
  const settled = nameOf(shown);
  useEffect(() => {
    if (shown !== asked) settle(settled);
  });
  return (
    <Wizard className="x-wizard" navAriaLabel={t('Steps')} startIndex={shown + 1} onStepChange={(_event, { id }) => go(nameOf(steps.findIndex((step) => step.id === id)))} onClose={leave}>
      {steps.map((step, place) => (
        <WizardStep
          key={step.id}
          name={step.name}
          id={step.id}
          isDisabled={place > last}
          footer={<Footer step={step} shown={steps[shown]?.id ?? ''} leaveLabel={leaveLabel} finish={place === steps.length - 1 ? finish : undefined} />}
        >
          {step.body}
        </WizardStep>
      ))}
    </Wizard>
  );
}

function Footer({ step, shown, finish, leaveLabel }: { step: Step; shown: string; finish: React.ReactNode; leaveLabel?: string }) {
  const { t } = useTranslation();
  const { goToNextStep, goToPrevStep, goToStepById, activeStep, close } = useWizardContext();
  // PatternFly has a step of its own, and is told when the address has another.
  useEffect(() => {
    if (activeStep.id !== shown) goToStepById(shown);
  }, [activeStep.id, shown, goToStepById]);
  return (
    <WizardFooterWrapper>
      <Button variant="secondary" isDisabled={activeStep.index <= 1} onClick={() => void goToPrevStep()}>
        {t('Back')}
      </Button>
      {finish ?? (
        <Button isDisabled={!step.ready} onClick={() => void goToNextStep()}>
          {t('Next')}
        </Button>
      )}
      <Button variant="link" onClick={close}>
        {leaveLabel ?? t('Cancel')}
      </Button>
      {(step.form || step.waits) && <WaitsFor form={step.form ?? ''} ready={step.ready} otherwise={step.waits} />}
    </WizardFooterWrapper>
  );
}
