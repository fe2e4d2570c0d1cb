// An action as its command line and as its JSON-RPC call.

import { Button, ClipboardCopy, ClipboardCopyVariant, Content, Form, FormGroup, Modal, ModalBody, ModalFooter, ModalHeader } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';
import { cliLine, rpcLine } from '../rules/cli';
import type { Act } from './acts';

export function CopyCall({ act, close }: { act: Act; close: () => void }) {
  const { t } = useTranslation();
  const words = { hoverTip: t('Copy'), clickTip: t('Copied') };
  return (
    <Modal isOpen onClose={close} variant="medium" aria-labelledby="copy-title">
      <ModalHeader title={act.title} labelId="copy-title" />
      <ModalBody>
        <Form>
          <Content component="p">
            {t('The same from a shell, or from a program. Nothing has been done yet.')}
          </Content>
          <FormGroup label={t('Command line')}>
            <ClipboardCopy isReadOnly {...words} textAriaLabel={t('Command line')}>
              {cliLine(act.method, act.params)}
            </ClipboardCopy>
          </FormGroup>
          <FormGroup label={t('JSON-RPC, to /rpc')}>
            <ClipboardCopy
              isReadOnly
              isCode
              isExpanded
              variant={ClipboardCopyVariant.expansion}
              toggleAriaLabel={t('Show the content')}
              textAriaLabel={t('JSON-RPC, to /rpc')}
              {...words}
            >
              {rpcLine(act.method, act.params)}
            </ClipboardCopy>
          </FormGroup>
        </Form>
      </ModalBody>
      <ModalFooter>
        <Button onClick={close}>{t('Close')}</Button>
      </ModalFooter>
    </Modal>
  );
}
