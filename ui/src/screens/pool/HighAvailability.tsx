// High availability of a pool: how it is, host by host, and turning it on and off.

import { Button, ModalBody, ModalFooter, ModalHeader } from '@patternfly/react-core';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useId, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import { useRead } from '../../api/client';
import type { HaHostState, Pool, PoolHa } from '../../api/generated';
import { useAll } from '../../list/all';
import { FALLBACK_MS } from '../../live/again';
import { useActs } from '../../parts/acts';
import { ErrorBox, Loading } from '../../parts/feedback';
import { ChoiceField } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';
import { Modal } from '../../parts/Modal';
import { PRIORITY } from '../vm/Priority';

export function HighAvailability({ pool, why, close }: { pool: Pool; why?: string; close: () => void }) {
  const { t } = useTranslation();
  const id = useId();
  const shown = useRead('ha.show', { pool: pool.id }, { every: FALLBACK_MS });
  if (shown.data && !shown.data.armed && !why) return <Enable pool={pool} close={close} />;
  return (
    <Modal isOpen variant="medium" onClose={close} aria-labelledby={id}>
      <ModalHeader title={t('High availability of {{name}}', { name: pool.name })} labelId={id} description={t('VMs of a host that died run elsewhere, once it is proved to run nothing.')} />
      <ModalBody>
        {shown.isPending && <Loading lines={3} />}
        {shown.isError && <ErrorBox error={shown.error} />}
        {shown.data && !shown.data.armed && <p>{t('It is off.')}</p>}
        {shown.data?.armed && <Hosts shown={shown.data} />}
        {shown.data?.armed && <Priorities shown={shown.data} close={close} />}
      </ModalBody>
      <ModalFooter>{shown.data?.armed && !why ? <Disable pool={pool} close={close} /> : <Button onClick={close}>{t('Close')}</Button>}</ModalFooter>
    </Modal>
  );
}

function Hosts({ shown }: { shown: PoolHa }) {
  const { t } = useTranslation();
  const words: Record<HaHostState, string> = {
    armed: t('protected'),
    unarmed: t('not protected'),
    suspected: t('not heard: it may be dead'),
    fenced: t('dead; its VMs run elsewhere'),
  };
  return (
    <Table variant="compact" aria-label={t('Its hosts')}>
      <Thead>
        <Tr>
          <Th>{t('Host')}</Th>
          <Th>{t('State')}</Th>
          <Th>{t('Problem')}</Th>
          <Th>{t('VMs that wait')}</Th>
        </Tr>
      </Thead>
      <Tbody>
        {shown.hosts.map((host) => (
          <Tr key={host.host}>
            <Td dataLabel={t('Host')}>{host.name}</Td>
            <Td dataLabel={t('State')}>{words[host.state]}</Td>
            <Td dataLabel={t('Problem')} className="x-wrap">{host.problem ?? '—'}</Td>
            <Td dataLabel={t('VMs that wait')}>{host.waiting.length || '—'}</Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}

/** VMs that come before or after the others, or not at all. */
function Priorities({ shown, close }: { shown: PoolHa; close: () => void }) {
  const { t } = useTranslation();
  if (shown.priorities.length === 0) return null;
  return (
    <Table variant="compact" className="x-above" aria-label={t('VMs out of the usual order')}>
      <Thead>
        <Tr>
          <Th>{t('VM')}</Th>
          <Th>{t('After its host died')}</Th>
        </Tr>
      </Thead>
      <Tbody>
        {shown.priorities.map(({ vm, name, priority }) => (
          <Tr key={vm}>
            <Td dataLabel={t('VM')}>
              <Link to={`/vms/${vm}`} onClick={close}>
                {name}
              </Link>
            </Td>
            <Td dataLabel={t('After its host died')}>{t(PRIORITY[priority])}</Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}

function Disable({ pool, close }: { pool: Pool; close: () => void }) {
  const { t } = useTranslation();
  const { ask } = useActs();
  const off = () => {
    close();
    ask({
      method: 'ha.disable',
      params: { pool: pool.id },
      title: t('Turn off high availability of {{name}}', { name: pool.name }),
      text: t('VMs of a host that dies are not restarted any more.'),
      button: t('Turn off'),
    });
  };
  return (
    <>
      <Button onClick={close}>{t('Close')}</Button>
      <Button variant="secondary" onClick={off}>
        {t('Turn off')}
      </Button>
    </>
  );
}

function Enable({ pool, close }: { pool: Pool; close: () => void }) {
  const { t } = useTranslation();
  const srs = useAll('sr.list', {});
  const [sr, setSr] = useState('');
  const shared = (srs.data ?? []).filter((one) => one.spec && one.pool === pool.id);
  return (
    <FormDialog
      act={{ method: 'ha.enable', params: { pool: pool.id, sr }, title: t('Turn on high availability of {{name}}', { name: pool.name }) }}
      button={t('Turn on')}
      ready={sr !== ''}
      close={close}
      about={t('VMs of a host that died run elsewhere, once it is proved to run nothing.')}
    >
      <ChoiceField
        id="ha-sr"
        label={t('Where the leases of the hosts are')}
        value={sr}
        set={setSr}
        options={shared.map((one) => [one.id, one.name])}
        none={t('Choose …')}
        help={t('A shared SR that every host of the pool has attached. Each host needs a watchdog (xen_wdt).')}
      />
    </FormDialog>
  );
}
