// A join token for a new host, with what to do with it. The list shows the host as soon as it has joined.

import { Button, ClipboardCopy, ClipboardCopyVariant, Form, FormGroup, List, ListComponent, ListItem, ModalBody, ModalFooter, ModalHeader, OrderType } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { AddHost as Params, JoinTokenIssued } from '../../api/generated';
import { useActs } from '../../parts/acts';
import { Alert } from '../../parts/Alert';
import { ChoiceField, NumberField, TextField, usePoolOptions } from '../../parts/fields';
import { useFormat } from '../../parts/format';
import { Modal } from '../../parts/Modal';

export function AddHost({ close }: { close: () => void }) {
  const { t } = useTranslation();
  const format = useFormat();
  const { run, copy } = useActs();
  const pools = usePoolOptions();
  const [name, setName] = useState('');
  const [pool, setPool] = useState('');
  const [minutes, setMinutes] = useState(60);
  const [issued, setIssued] = useState<JoinTokenIssued>();
  const params: Params = { ...(name ? { name } : {}), ...(pool ? { pool } : {}), minutes };
  const act = { method: 'host.add' as const, params, title: t('Add a host') };
  const submit = async () => setIssued((await run(act)) ?? undefined);
  const words = { hoverTip: t('Copy'), clickTip: t('Copied') };
  return (
    <Modal isOpen variant="medium" onClose={close} aria-labelledby="add-host-title">
      <ModalHeader title={act.title} labelId="add-host-title" description={t('A host joins with a token that works once. Its own key never leaves it.')} />
      <ModalBody>
        {issued ? (
          <Form>
            <Alert isInline variant="success" title={t('The token works until {{when}}, once', { when: format.date(issued.expires) })}>
              {t('It is shown only now.')}
            </Alert>
            <FormGroup label={t('Join token')}>
              <ClipboardCopy isReadOnly isCode variant={ClipboardCopyVariant.inline} {...words} textAriaLabel={t('Join token')}>
                {issued.token}
              </ClipboardCopy>
            </FormGroup>
            <List component={ListComponent.ol} type={OrderType.number}>
              <ListItem>
                {t('On the host, check what it lacks:')} <code>xenith-agent doctor</code>
              </ListItem>
              <ListItem>
                {t('Put the token there, as root:')} <code>install -m 600 /dev/stdin /etc/xenith/join-token</code>
              </ListItem>
              <ListItem>
                {t('Start the agent:')} <code>systemctl enable --now xenith-agent</code>
              </ListItem>
            </List>
          </Form>
        ) : (
          <Form
            id="add-host"
            onSubmit={(event) => {
              event.preventDefault();
              void submit();
            }}
          >
            <TextField id="host-name" label={t('Name')} value={name} set={setName} help={t('Empty: its own host name.')} autoFocus />
            <ChoiceField id="host-pool" label={t('Pool')} value={pool} set={setPool} options={pools} none={t('The pool default')} />
            <NumberField id="host-minutes" label={t('The token works for (minutes)')} value={minutes} set={setMinutes} min={1} max={10080} step={15} />
          </Form>
        )}
      </ModalBody>
      <ModalFooter>
        {issued ? (
          <Button onClick={close}>{t('Close')}</Button>
        ) : (
          <>
            <Button type="submit" form="add-host">
              {t('Issue a join token')}
            </Button>
            <Button variant="secondary" onClick={() => copy(act)}>
              {t('Copy as …')}
            </Button>
            <Button variant="link" onClick={close}>
              {t('Cancel')}
            </Button>
          </>
        )}
      </ModalFooter>
    </Modal>
  );
}
