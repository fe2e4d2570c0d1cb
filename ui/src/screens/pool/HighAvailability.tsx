// High availability of a pool: how it is, host by host, and turning it on and off.

import { Button, Grid, ModalBody, ModalFooter, ModalHeader } from '@patternfly/react-core';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useId, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import { useRead } from '../../api/client';
import type { HaHostState, HaSettings, Pool, PoolHa } from '../../api/generated';
import { useAll } from '../../list/all';
import { FALLBACK_MS } from '../../live/again';
import { useActs } from '../../parts/acts';
import { Facts } from '../../parts/Facts';
import { ErrorBox, Loading } from '../../parts/feedback';
import { ChoiceField, NumberField } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';
import { useFormat } from '../../parts/format';
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
        {shown.data?.armed && <Settings armed={shown.data.armed} />}
        {shown.data?.armed && <Hosts shown={shown.data} />}
        {shown.data?.armed && <Priorities shown={shown.data} close={close} />}
      </ModalBody>
      <ModalFooter>{shown.data?.armed && !why ? <Disable pool={pool} close={close} /> : <Button onClick={close}>{t('Close')}</Button>}</ModalFooter>
    </Modal>
  );
}

function Settings({ armed }: { armed: HaSettings }) {
  const { t } = useTranslation();
  const format = useFormat();
  const srs = useAll('sr.list', {});
  return (
    <Facts
      facts={[
        [t('Where the leases of the hosts are'), srs.data?.find(({ id }) => id === armed.sr)?.name ?? armed.sr],
        [t('Cut off, a host is reset after'), format.duration(armed.lease_s)],
        [t('Its watchdog bites after'), format.duration(armed.watchdog_s)],
        [t('Both are renewed every'), format.duration(armed.beat_s)],
      ]}
    />
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

/** As the API has them where nothing is said. */
const USUAL = { lease_s: 60, watchdog_s: 10, beat_s: 5 };

const unusual = (timing: typeof USUAL): Partial<typeof USUAL> => Object.fromEntries(Object.entries(timing).filter(([key, value]) => value !== USUAL[key as keyof typeof USUAL]));

function Enable({ pool, close }: { pool: Pool; close: () => void }) {
  const { t } = useTranslation();
  const srs = useAll('sr.list', {});
  const [sr, setSr] = useState('');
  const [timing, setTiming] = useState(USUAL);
  const set = (part: Partial<typeof USUAL>) => setTiming((before) => ({ ...before, ...part }));
  const shared = (srs.data ?? []).filter((one) => one.spec && one.pool === pool.id);
  return (
    <FormDialog
      act={{ method: 'ha.enable', params: { pool: pool.id, sr, ...unusual(timing) }, title: t('Turn on high availability of {{name}}', { name: pool.name }) }}
      button={t('Turn on')}
      ready={sr !== ''}
      close={close}
      about={t('VMs of a host that died run elsewhere, once it is proved to run nothing.')}
    >
      <ChoiceField
        id="ha-sr"
        required
        label={t('Where the leases of the hosts are')}
        value={sr}
        set={setSr}
        options={shared.map((one) => [one.id, one.name])}
        none={t('Choose …')}
        help={t('A shared SR that every host of the pool has attached. Each host needs a watchdog (xen_wdt).')}
      />
      <Grid hasGutter sm={4}>
        <NumberField id="ha-lease" label={t('Reset after (s)')} value={timing.lease_s} set={(lease_s) => set({ lease_s })} min={1} max={3600} help={t('A host that has neither the orchestrator nor its lease for so long.')} />
        <NumberField id="ha-watchdog" label={t('Watchdog (s)')} value={timing.watchdog_s} set={(watchdog_s) => set({ watchdog_s })} min={1} max={3600} help={t('It bites when the host stands still for so long.')} />
        <NumberField id="ha-beat" label={t('Renewed every (s)')} value={timing.beat_s} set={(beat_s) => set({ beat_s })} min={1} max={3600} help={t('Its lease, and the word of the orchestrator.')} />
      </Grid>
    </FormDialog>
  );
}
