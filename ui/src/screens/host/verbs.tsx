// What can be done with a host.

import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { Evacuation, Host } from '../../api/generated';
import { TextField } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';
import { VerbMenu, type Verb } from '../../parts/VerbMenu';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { Evacuate, Evacuated } from './Evacuate';
import { GoDown, type Down } from './GoDown';
import { Maintenance } from './Maintenance';
import { Management } from './Management';
import { Upgrade } from './Upgrade';

export function HostMenu({ host, removed, labelled }: { host: Host; removed?: () => void; labelled?: boolean }) {
  const { t } = useTranslation();
  const user = useUser();
  const [beginning, setBeginning] = useState(false);
  const [moving, setMoving] = useState(false);
  const [peering, setPeering] = useState(false);
  const [emptying, setEmptying] = useState(false);
  const [came, setCame] = useState<Evacuation>();
  const [upgrading, setUpgrading] = useState(false);
  const [managing, setManaging] = useState(false);
  const [down, setDown] = useState<Down>();
  const why = mayNot(user, 'host.remove', { pool: host.pool });
  const end = { method: 'host.set_maintenance' as const, params: { host: host.id, maintenance: false }, title: t('End the maintenance of {{name}}', { name: host.name }) };
  const verbs: Verb[] = [
    host.maintenance
      ? { label: t('End maintenance'), why, act: end, note: t('VMs may be placed on it again.') }
      : { label: t('Begin maintenance'), why, go: () => setBeginning(true), note: t('It takes no new VMs and starts none while in maintenance.') },
    { label: t('Change the address'), why: mayNot(user, 'host.set_address', { pool: host.pool }), go: () => setMoving(true), note: t('It moved, and keeps its identity, its VMs and its certificate.') },
    { label: t('Change the address for hosts'), why: mayNot(user, 'host.set_peer_address', { pool: host.pool }), go: () => setPeering(true), note: t('What hosts send each other goes there: moving VMs, copies of disks, private networks.') },
    { label: t('Change the management interface'), why: mayNot(user, 'host.set_management', { pool: host.pool }), go: () => setManaging(true), note: t('Its own address, VLAN, bond and name servers.') },
    {
      label: t('Move its VMs away'),
      why: mayNot(user, 'host.evacuate', { pool: host.pool }) ?? (host.vms === 0 ? t('It has none.') : undefined),
      go: () => setEmptying(true),
      note: t('It goes into maintenance, and its VMs to other hosts.'),
    },
    { label: t('Upgrade'), why: mayNot(user, 'host.upgrade', { pool: host.pool }), go: () => setUpgrading(true), note: t('A new system, which it starts anew into.') },
    { label: t('Reboot'), why: mayNot(user, 'host.reboot', { pool: host.pool }), go: () => setDown('host.reboot'), note: t('It starts anew as it is.') },
    { label: t('Shut down'), why: mayNot(user, 'host.shutdown', { pool: host.pool }), go: () => setDown('host.shutdown'), note: t('It goes off.') },
    {
      label: t('Remove'),
      danger: true,
      why,
      act: { method: 'host.remove', params: { host: host.id }, title: t('Remove {{name}}', { name: host.name }) },
      question: {
        text: t('{{name}} is forgotten and its certificate revoked. It can join again with a new token. Its {{count}} VMs run on.', { name: host.name, count: host.vms }),
        button: t('Remove'),
        typeName: host.name,
        choices: host.vms > 0 ? [{ field: 'force', label: t('Forget the definitions of its VMs too') }] : [],
        done: removed,
      },
    },
  ];
  return (
    <>
      <VerbMenu name={host.name} verbs={verbs} labelled={labelled} />
      {beginning && <Maintenance host={host} close={() => setBeginning(false)} moved={setCame} />}
      {moving && <Address host={host} close={() => setMoving(false)} />}
      {peering && <PeerAddress host={host} close={() => setPeering(false)} />}
      {emptying && <Evacuate host={host} close={() => setEmptying(false)} done={setCame} />}
      {managing && <Management host={host} close={() => setManaging(false)} />}
      {upgrading && <Upgrade host={host} close={() => setUpgrading(false)} />}
      {down && <GoDown host={host} method={down} close={() => setDown(undefined)} />}
      {came && <Evacuated name={host.name} vms={came.vms} close={() => setCame(undefined)} />}
    </>
  );
}

/** A name or an address, an IPv6 one in brackets, and a port. */
const ADDRESS = /^(\[[0-9a-fA-F:.%]+\]|[^\s:/[\]]+):\d{1,5}$/;

function Address({ host, close }: { host: Host; close: () => void }) {
  const { t } = useTranslation();
  const [address, setAddress] = useState(host.address);
  const fine = ADDRESS.test(address);
  return (
    <FormDialog
      act={{ method: 'host.set_address', params: { host: host.id, address }, title: t('Look for {{name}} under another address', { name: host.name }), undo: { method: 'host.set_address', params: { host: host.id, address: host.address } } }}
      button={t('Change')}
      ready={fine && address !== host.address}
      waits={t('Nothing is changed yet.')}
      close={close}
      about={t('The orchestrator calls its agent there. Nothing on the host changes.')}
    >
      <TextField id="host-address" label={t('Address')} value={address} set={setAddress} required autoFocus wrong={fine ? undefined : t('An address and a port, such as xen1.example.org:8444.')} />
    </FormDialog>
  );
}

/** A name or an address; without a port. */
const PEER = /^(\[?[0-9a-fA-F:.%]+\]?|[^\s:/[\]]+)$/;

function PeerAddress({ host, close }: { host: Host; close: () => void }) {
  const { t } = useTranslation();
  const before = host.peer_address ?? '';
  const [address, setAddress] = useState(before);
  const fine = address === '' || PEER.test(address);
  return (
    <FormDialog
      act={{ method: 'host.set_peer_address', params: { host: host.id, ...(address ? { address } : {}) }, title: t('Another address of {{name}} for hosts', { name: host.name }), undo: { method: 'host.set_peer_address', params: { host: host.id, ...(before ? { address: before } : {}) } } }}
      button={t('Change')}
      ready={fine && address !== before}
      waits={t('Nothing is changed yet.')}
      close={close}
      about={t('For a network of the hosts’ own. The orchestrator goes on calling {{address}}.', { address: host.address })}
    >
      <TextField id="host-peer-address" label={t('Address')} value={address} set={setAddress} autoFocus placeholder="10.10.0.1" wrong={fine ? undefined : t('A name or an IP address, without a port.')} help={t('Empty: the one that the orchestrator uses.')} />
    </FormDialog>
  );
}
