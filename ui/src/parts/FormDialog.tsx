// A form in a dialog: do it, copy it, or leave it.

import { Button, Form, Modal, ModalBody, ModalFooter, ModalHeader } from '@patternfly/react-core';
import { useId, useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { MethodName, Methods } from '../api/generated';
import { useActs, type Act } from './acts';

interface Props<M extends MethodName> {
  act: Act<M>;
  button: string;
  ready: boolean;
  close(): void;
  about?: string;
  /** It asks for much. */
  wide?: boolean;
  /** It has secrets: not to be copied. */
  secret?: boolean;
  done?(result: Methods[M]['result']): void;
  children: React.ReactNode;
}

export function FormDialog<M extends MethodName>({ act, button, ready, close, about, wide, secret, done, children }: Props<M>) {
  const { t } = useTranslation();
  const { run, copy } = useActs();
  const [busy, setBusy] = useState(false);
  const id = useId();
  const submit = async () => {
    if (!ready || busy) return;
    setBusy(true);
    const result = await run(act);
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
        </Form>
      </ModalBody>
      <ModalFooter>
        <Button type="submit" form={id} isDisabled={!ready} isLoading={busy}>
          {button}
        </Button>
        {!secret && (
          <Button variant="secondary" isDisabled={!ready} onClick={() => copy(act)}>
            {t('Copy as …')}
          </Button>
        )}
        <Button variant="link" onClick={close}>
          {t('Cancel')}
        </Button>
      </ModalFooter>
    </Modal>
  );
}
