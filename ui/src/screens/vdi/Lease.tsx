// Which host may write a disk that several reach, and taking that from one that is dead for good
// (docs/adr/0087-one-writer.md). Who has it is asked of a host, so only while somebody looks.

import { Button, ModalBody, ModalFooter, ModalHeader } from '@patternfly/react-core';
import { useId } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import { useRead } from '../../api/client';
import type { Vdi, VdiLease } from '../../api/generated';
import { useAll } from '../../list/all';
import { useActs } from '../../parts/acts';
import { Alert } from '../../parts/Alert';
import { Facts } from '../../parts/Facts';
import { ErrorBox, Loading } from '../../parts/feedback';
import { Modal } from '../../parts/Modal';
import { HostLabel } from '../../parts/state';
import { WhyButton } from '../../parts/WhyButton';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';

type Disk = Pick<Vdi, 'id' | 'name' | 'sr'>;

export function Lease({ vdi, close }: { vdi: Disk; close: () => void }) {
  const { t } = useTranslation();
  const id = useId();
  const read = useRead('vdi.get', { vdi: vdi.id });
  const lease = read.data?.leased_to;
  return (
    <Modal isOpen variant="small" onClose={close} aria-labelledby={id}>
      <ModalHeader title={t('Who may write {{name}}', { name: vdi.name })} labelId={id} description={t('Of the hosts that reach it one alone may write a disk. It lets go when its VM is off.')} />
      <ModalBody>
        {read.isPending && <Loading lines={3} />}
        {read.isError && <ErrorBox error={read.error} retry={() => void read.refetch()} />}
        {read.data && !lease && <p>{t('No host has it: nobody writes this disk now, or its storage does not answer.')}</p>}
        {lease && <Holder lease={lease} close={close} />}
      </ModalBody>
      <ModalFooter>
        <Button onClick={close}>{t('Close')}</Button>
        {lease && <Break vdi={vdi} lease={lease} close={close} />}
      </ModalFooter>
    </Modal>
  );
}

/** A host that was removed is known by what it called itself. */
function useHolder(lease: VdiLease) {
  const hosts = useRead('host.list', { limit: 1000 });
  const host = hosts.data?.items.find(({ id }) => id === lease.host);
  return { host, name: host?.name ?? lease.host_name };
}

function Holder({ lease, close }: { lease: VdiLease; close: () => void }) {
  const { t } = useTranslation();
  const { host, name } = useHolder(lease);
  const { vm } = lease;
  return (
    <>
      <Facts
        facts={[
          [
            t('Host'),
            host ? (
              <span key="h" className="x-labels">
                <Link to={`/hosts/${host.id}`} onClick={close}>
                  {name}
                </Link>
                <HostLabel status={host.status} maintenance={host.maintenance} />
              </span>
            ) : (
              t('{{name}}, which was removed', { name })
            ),
          ],
          [
            t('For'),
            vm ? (
              <Link key="v" to={`/vms/${vm.vm}`} onClick={close}>
                {vm.name}
              </Link>
            ) : (
              t('the host itself, which works on the disk')
            ),
          ],
        ]}
      />
      {vm?.sent && (
        <Alert isInline variant="info" className="x-above" title={t('The VM is on its way to another host')}>
          {t('Nobody writes until one of the two is told to let it go on.')}
        </Alert>
      )}
    </>
  );
}

/** Asks for the name of the host: it is the host that has to be dead. Who has the lease by then is the orchestrator's to see. */
function Break({ vdi, lease, close }: { vdi: Disk; lease: VdiLease; close: () => void }) {
  const { t } = useTranslation();
  const user = useUser();
  const { ask } = useActs();
  const { name: host } = useHolder(lease);
  const srs = useAll('sr.list', {});
  const why = mayNot(user, 'vdi.break_lease', { pool: srs.data?.find(({ id }) => id === vdi.sr)?.pool });
  const go = () => {
    close();
    ask({
      method: 'vdi.break_lease',
      params: { vdi: vdi.id, host: lease.host },
      title: t('Break the lease of {{name}}', { name: vdi.name }),
      text: t('Another host may write the disk then. If {{host}} still writes it, the disk is ruined. Make sure that it is off, or that it does not reach the storage: that it is not heard is no proof.', { host }),
      button: t('Break the lease'),
      typeName: host,
    });
  };
  return (
    <WhyButton variant="danger" why={why} go={go}>
      {t('Break the lease')} …
    </WhyButton>
  );
}
