// A host is emptied: its VMs go to others, and those that stay are named with the reason, before and after.

import { Button, List, ListItem, ModalBody, ModalFooter, ModalHeader } from '@patternfly/react-core';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useId, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import { usePlan } from '../../api/client';
import type { EvacuatedVm, Evacuation, Host } from '../../api/generated';
import { Alert } from '../../parts/Alert';
import { ErrorBox, Loading } from '../../parts/feedback';
import { FormDialog } from '../../parts/FormDialog';
import { useFormat } from '../../parts/format';
import { Modal } from '../../parts/Modal';
import { MoveDisks, movingDisks } from '../../parts/MoveDisks';
import { copied } from './Moves';

export function Evacuate({ host, close, done }: { host: Host; close: () => void; done: (came: Evacuation) => void }) {
  const { t } = useTranslation();
  const [disks, setDisks] = useState(false);
  return (
    <FormDialog
      act={{ method: 'host.evacuate', params: { host: host.id, ...movingDisks(disks) }, title: t('Empty {{name}}', { name: host.name }) }}
      button={t('Move its VMs away')}
      ready
      close={close}
      done={done}
      about={t('It goes into maintenance, and its VMs to other hosts.')}
    >
      <p>{t('What runs moves as it runs. What cannot move stays, and is named with the reason.')}</p>
      <MoveDisks id="evacuate-disks" on={disks} set={setDisks} />
      <EvacuationPlan host={host} disks={disks} close={close} />
    </FormDialog>
  );
}

/** What would become of each VM, asked of the orchestrator: those that stay come first. */
export function EvacuationPlan({ host, disks, close }: { host: Host; disks: boolean; close: () => void }) {
  const { t } = useTranslation();
  const format = useFormat();
  const read = usePlan<{ vms: EvacuatedVm[] }>('host.evacuate', { host: host.id, ...movingDisks(disks) });
  if (read.isPending) return <Loading lines={3} />;
  if (read.isError) return <ErrorBox error={read.error} title={t('It would be refused')} retry={() => void read.refetch()} />;
  const { vms } = read.data.plan;
  const stay = vms.filter((vm) => vm.error);
  const go = vms.filter((vm) => !vm.error);
  const bytes = copied(go);
  return (
    <>
      <Staying vms={stay} title={t('These would stay:')} close={close} />
      {bytes > 0 && <p>{t('Disks that are copied: {{size}}', { size: format.bytes(bytes) })}</p>}
      {go.length > 0 && (
        <div className="x-choices" tabIndex={0} role="region" aria-label={t('Where its VMs would go')}>
          <Table variant="compact" borders={false} aria-label={t('Where its VMs would go')}>
            <Thead>
              <Tr>
                <Th>{t('VM')}</Th>
                <Th>{t('To host')}</Th>
                {bytes > 0 && <Th>{t('Disks')}</Th>}
              </Tr>
            </Thead>
            <Tbody>
              {go.map((vm) => (
                <Tr key={vm.vm}>
                  <Td dataLabel={t('VM')}>{vm.name}</Td>
                  <Td dataLabel={t('To host')}>{vm.to_name ?? '—'}</Td>
                  {bytes > 0 && <Td dataLabel={t('Disks')}>{vm.disk_bytes ? format.bytes(vm.disk_bytes) : '—'}</Td>}
                </Tr>
              ))}
            </Tbody>
          </Table>
        </div>
      )}
    </>
  );
}

function Staying({ vms, title, close }: { vms: EvacuatedVm[]; title: string; close: () => void }) {
  if (vms.length === 0) return null;
  return (
    <Alert isInline variant="warning" title={title}>
      <List isPlain>
        {vms.map((vm) => (
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
        <Staying vms={stay} title={t('These stay:')} close={close} />
      </ModalBody>
      <ModalFooter>
        <Button onClick={close}>{t('Close')}</Button>
      </ModalFooter>
    </Modal>
  );
}
