// An action as its command line and as its JSON-RPC call; several as lines, and as one batch.

import { Button, ClipboardCopy, ClipboardCopyVariant, Content, Form, FormGroup, ModalBody, ModalFooter, ModalHeader } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';
import { cliLine, rpcLines } from '../rules/cli';
import type { Act } from './acts';
import { Modal } from './Modal';

export function CopyCall({ title, acts, close }: { title: string; acts: Act[]; close: () => void }) {
  const { t } = useTranslation();
  const words = { hoverTip: t('Copy'), clickTip: t('Copied') };
  const lines = acts.map(({ method, params }) => cliLine(method, params)).join('\n');
  return (
    <Modal isOpen onClose={close} variant="medium" aria-labelledby="copy-title">
      <ModalHeader title={title} labelId="copy-title" />
      <ModalBody>
        <Form>
          <Content component="p">
            {t('The same from a shell, or from a program. Nothing has been done yet.')}
          </Content>
          <FormGroup label={t('Command line')}>
            {acts.length === 1 ? (
              <ClipboardCopy isReadOnly {...words} textAriaLabel={t('Command line')}>
                {lines}
              </ClipboardCopy>
            ) : (
              <ClipboardCopy isReadOnly isCode isExpanded variant={ClipboardCopyVariant.expansion} toggleAriaLabel={t('Show the content')} textAriaLabel={t('Command line')} {...words}>
                {lines}
              </ClipboardCopy>
            )}
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
              {rpcLines(acts)}
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
