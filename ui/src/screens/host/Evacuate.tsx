// A host is emptied: its VMs go to others, and those that stay are named with the reason.

import { Alert, Button, List, ListItem, Modal, ModalBody, ModalFooter, ModalHeader } from '@patternfly/react-core';
import { useId } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import type { EvacuatedVm, Evacuation, Host } from '../../api/generated';
import { FormDialog } from '../../parts/FormDialog';

export function Evacuate({ host, close, done }: { host: Host; close: () => void; done: (came: Evacuation) => void }) {
  const { t } = useTranslation();
  return (
    <FormDialog
      act={{ method: 'host.evacuate', params: { host: host.id }, title: t('Empty {{name}}', { name: host.name }) }}
      button={t('Move its VMs away')}
      ready
      close={close}
      done={done}
      about={t('It goes into maintenance, and its VMs to other hosts.')}
    >
      <p>{t('What runs moves as it runs. What cannot move stays, and is named with the reason.')}</p>
    </FormDialog>
  );
}

export function Evacuated({ name, vms, close }: { name: string; vms: EvacuatedVm[]; close: () => void }) {
  const { t } = useTranslation();
  const id = useId();
  const stay = vms.filter((vm) => vm.error);
  return (
    <Modal isOpen variant="small" onClose={close} aria-labelledby={id}>
      <ModalHeader title={t('Empty {{name}}', { name })} labelId={id} />
      <ModalBody>
        <p>{t('On their way: {{count}}', { count: vms.length - stay.length })}</p>
        {stay.length > 0 && (
          <Alert isInline variant="warning" title={t('These stay:')}>
            <List isPlain>
              {stay.map((vm) => (
                <ListItem key={vm.vm}>
                  <Link to={`/vms/${vm.vm}`} onClick={close}>
                    {vm.name}
                  </Link>
                  {': '}
                  {[vm.error, ...(vm.detail ?? [])].join('; ')}
                </ListItem>
              ))}
            </List>
          </Alert>
        )}
      </ModalBody>
      <ModalFooter>
        <Button onClick={close}>{t('Close')}</Button>
      </ModalFooter>
    </Modal>
  );
}
