// A secret, to be copied to where it is kept.

import { Alert } from './Alert';
import { Modal } from './Modal';
import { Button, ClipboardCopy, ModalBody, ModalFooter, ModalHeader } from '@patternfly/react-core';
import { useId } from 'react';
import { useTranslation } from 'react-i18next';

interface Props {
  /** Translated, like every text here. */
  title: string;
  /** What to do with it. */
  warning: string;
  about?: string;
  /** What it is, for who does not see it. */
  label: string;
  secret: string;
  close(): void;
}

export function SecretDialog({ title, warning, about, label, secret, close }: Props) {
  const { t } = useTranslation();
  const id = useId();
  return (
    <Modal isOpen variant="medium" onClose={close} aria-labelledby={id}>
      <ModalHeader title={title} labelId={id} />
      <ModalBody>
        <Alert isInline variant="warning" className="x-gap" title={warning}>
          {about}
        </Alert>
        <ClipboardCopy isReadOnly isCode hoverTip={t('Copy')} clickTip={t('Copied')} textAriaLabel={label}>
          {secret}
        </ClipboardCopy>
      </ModalBody>
      <ModalFooter>
        <Button onClick={close}>{t('Close')}</Button>
      </ModalFooter>
    </Modal>
  );
}
