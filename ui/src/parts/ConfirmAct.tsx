// The question before something that cannot be taken back: what it means, the plan where the API has one, the name to
// type where much is at stake.

import { Button, Checkbox, CodeBlock, CodeBlockCode, ExpandableSection, Form, ModalBody, ModalFooter, ModalHeader } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { usePlan } from '../api/client';
import { METHODS } from '../api/generated';
import { useActs, type Question } from './acts';
import { ErrorBox, Loading } from './feedback';
import { Modal } from './Modal';
import { TypeName } from './TypeName';
import { WaitsFor } from './WaitsFor';

function Plan({ method, params }: Pick<Question, 'method' | 'params'>) {
  const { t } = useTranslation();
  const plan = usePlan<unknown>(method, params);
  if (plan.isPending) return <Loading lines={2} />;
  if (plan.isError) return <ErrorBox error={plan.error} title={t('It would be refused')} />;
  return (
    <ExpandableSection toggleText={t('What exactly would be done')}>
      <CodeBlock>
        <CodeBlockCode>{JSON.stringify(plan.data.plan, null, 2)}</CodeBlockCode>
      </CodeBlock>
    </ExpandableSection>
  );
}

export function ConfirmAct({ question, close }: { question: Question; close: () => void }) {
  const { t } = useTranslation();
  const { run, copy } = useActs();
  const [typed, setTyped] = useState('');
  const [chosen, setChosen] = useState<Record<string, boolean>>({});
  const [busy, setBusy] = useState(false);
  const { method, title, text, button, typeName, choices = [], done, undo } = question;
  const set = Object.fromEntries(Object.entries(chosen).filter(([, on]) => on));
  const params = { ...question.params, ...set } as Question['params'];
  const ready = !typeName || typed === typeName;
  const go = async () => {
    if (!ready || busy) return;
    setBusy(true);
    const result = await run({ method, params, title, undo });
    close();
    if (result !== undefined) done?.(result);
  };
  return (
    <Modal isOpen onClose={close} variant="small" aria-labelledby="ask-title" aria-describedby="ask-text">
      <ModalHeader title={title} labelId="ask-title" titleIconVariant="warning" />
      <ModalBody>
        <Form
          id="ask-form"
          onSubmit={(event) => {
            event.preventDefault();
            void go();
          }}
        >
          <p id="ask-text">{text}</p>
          {choices.map(({ field, label }) => (
            <Checkbox
              key={field}
              id={`ask-${field}`}
              label={label}
              isChecked={chosen[field] ?? false}
              onChange={(_, on) => setChosen({ ...chosen, [field]: on })}
            />
          ))}
          {METHODS[method].dryRun && <Plan method={method} params={params} />}
          {typeName && <TypeName id="ask-name" name={typeName} value={typed} set={setTyped} autoFocus />}
        </Form>
      </ModalBody>
      <ModalFooter>
        <Button variant="danger" isDisabled={!ready} isLoading={busy} onClick={() => void go()}>
          {button}
        </Button>
        <Button variant="secondary" onClick={() => copy({ method, params, title })}>
          {t('Copy as …')}
        </Button>
        <Button variant="link" onClick={close}>
          {t('Cancel')}
        </Button>
        <WaitsFor form="ask-form" ready={ready} />
      </ModalFooter>
    </Modal>
  );
}
