// A form in a dialog: do it, copy it, or leave it. Why it was refused is said in it, where what has to be corrected is: what is
// outside of a dialog is not read out while it is open.

import { Button, Form, ModalBody, ModalFooter, ModalHeader } from '@patternfly/react-core';
import { useEffect, useId, useRef, useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { MethodName, Methods } from '../api/generated';
import { useActs, type Act } from './acts';
import { ErrorBox } from './feedback';
import { Modal } from './Modal';
import { WaitsFor } from './WaitsFor';

interface Props<M extends MethodName> {
  act: Act<M>;
  button: string;
  ready: boolean;
  /** What it waits for, where that is no field that is missing or wrong. */
  waits?: string;
  close(): void;
  about?: string;
  /** It asks for much. */
  wide?: boolean;
  /** It has secrets: not to be copied. */
  secret?: boolean;
  /** Parameters that are not copied: secrets, which the command asks for itself. */
  hidden?: string[];
  done?(result: Methods[M]['result']): void;
  children: React.ReactNode;
}

export function FormDialog<M extends MethodName>({ act, button, ready, waits, close, about, wide, secret, hidden = [], done, children }: Props<M>) {
  const { t } = useTranslation();
  const { run, copy } = useActs();
  const [busy, setBusy] = useState(false);
  const [refusal, setRefusal] = useState<unknown>();
  const id = useId();
  const submit = async () => {
    if (!ready || busy) return;
    setBusy(true);
    setRefusal(undefined);
    const result = await run(act, setRefusal);
    setBusy(false);
    if (result === undefined) return;
    close();
    done?.(result as Methods[M]['result']);
  };
  return (
    <Modal isOpen variant={wide ? 'medium' : 'small'} onClose={close} aria-labelledby={`${id}-title`}>
      <ModalHeader title={act.title} labelId={`${id}-title`} description={about} />
      <ModalBody>
        <Form
          id={id}
          onSubmit={(event) => {
            event.preventDefault();
            void submit();
          }}
        >
          {children}
          {refusal !== undefined && <Refused error={refusal} title={t('Not done: {{title}}', { title: act.title })} />}
          <FirstField form={id} />
        </Form>
      </ModalBody>
      <ModalFooter>
        <Button type="submit" form={id} isDisabled={!ready} isLoading={busy}>
          {button}
        </Button>
        {!secret && (
          <Button variant="secondary" isDisabled={!ready} onClick={() => copy({ ...act, params: Object.fromEntries(Object.entries(act.params).filter(([name]) => !hidden.includes(name))) as Methods[M]['params'] })}>
            {t('Copy as …')}
          </Button>
        )}
        <Button variant="link" onClick={close}>
          {t('Cancel')}
        </Button>
        <WaitsFor form={id} ready={ready} otherwise={waits} />
      </ModalFooter>
    </Modal>
  );
}

function Refused({ error, title }: { error: unknown; title: string }) {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    box.current?.scrollIntoView?.({ block: 'nearest' });
  }, [error]);
  return (
    <div ref={box} role="alert">
      <ErrorBox error={error} title={title} />
    </div>
  );
}

/** Typing begins at once, where no field asked for it: without this the button that closes the dialog has the focus. */
function FirstField({ form: id }: { form: string }) {
  useEffect(() => {
    const form = document.getElementById(id);
    if (!form || form.contains(document.activeElement)) return;
    form.querySelector<HTMLElement>('input:not([type=radio]), input[type=radio]:checked, select, textarea')?.focus();
  }, [id]);
  return null;
}
