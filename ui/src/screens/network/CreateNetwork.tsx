// Creates a network: of a bridge that the hosts have, or of what they are to make one of.

import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useRead } from '../../api/client';
import { ChoiceField, TextField, usePoolOptions } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';
import { createNetwork, EMPTY_NETWORK, KINDS, networkProblems, networkReady, type Kind, type NetworkDraft } from './draft';

export function CreateNetwork({ close }: { close: () => void }) {
  const { t } = useTranslation();
  const pools = usePoolOptions();
  const hosts = useRead('host.list', { limit: 1000 });
  const [draft, setDraft] = useState<NetworkDraft>(EMPTY_NETWORK);
  const set = (part: Partial<NetworkDraft>) => setDraft((before) => ({ ...before, ...part }));
  const bridges = [...new Set(hosts.data?.items.flatMap((host) => host.facts?.bridges.map((bridge) => bridge.name) ?? []))].sort();
  const problems = networkProblems(draft);
  const wrong = (field: keyof NetworkDraft) => {
    const why = problems[field];
    return why && t(why);
  };
  const tagged = draft.kind === 'interface' || draft.kind === 'bond';
  return (
    <FormDialog act={{ method: 'network.create', params: createNetwork(draft), title: t('Create a network') }} button={t('Create')} ready={networkReady(draft)} close={close}>
      <TextField id="network-name" label={t('Name')} value={draft.name} set={(name) => set({ name })} required autoFocus />
      <ChoiceField id="network-kind" label={t('What it leads to')} value={draft.kind} set={(kind) => set({ kind: kind as Kind })} options={Object.entries(KINDS).map(([kind, label]): [string, string] => [kind, t(label)])} help={draft.kind === 'bridge' ? undefined : t('The hosts of the pool make its bridge themselves.')} />
      {draft.kind === 'bridge' &&
        (bridges.length > 0 ? (
          <ChoiceField id="network-bridge" required label={t('Bridge')} value={draft.bridge} set={(bridge) => set({ bridge })} none={t('Choose one')} options={bridges.map((one): [string, string] => [one, one])} help={t('Those that hosts have told of.')} />
        ) : (
          <TextField id="network-bridge" label={t('Bridge')} value={draft.bridge} set={(bridge) => set({ bridge })} required help={t('Its name on the hosts, such as xenbr0.')} />
        ))}
      {draft.kind === 'interface' && <TextField id="network-interface" label={t('Network card')} value={draft.interface} set={(name) => set({ interface: name })} required placeholder="eth1" wrong={wrong('interface')} help={t('It carries no address of the host, unless a VLAN is given.')} />}
      {draft.kind === 'bond' && (
        <>
          <TextField id="network-bond" label={t('Name of the bond')} value={draft.bond} set={(bond) => set({ bond })} required placeholder="b0" wrong={wrong('bond')} />
          <TextField id="network-interfaces" label={t('Its network cards')} value={draft.interfaces} set={(interfaces) => set({ interfaces })} required placeholder="eth2, eth3" wrong={wrong('interfaces')} />
          <ChoiceField
            id="network-mode"
            label={t('How they share the work')}
            value={draft.mode}
            set={(mode) => set({ mode: mode === 'lacp' ? 'lacp' : 'active-backup' })}
            options={[
              ['active-backup', t('One works, the others stand by')],
              ['lacp', t('All work; the switch has to speak LACP')],
            ]}
          />
        </>
      )}
      {tagged && <TextField id="network-vlan" label={t('VLAN')} value={draft.vlan} set={(vlan) => set({ vlan })} wrong={wrong('vlan')} help={t('Empty: none.')} />}
      {draft.kind === 'private' && <TextField id="network-vni" label={t('Number of the tunnel')} value={draft.vni} set={(vni) => set({ vni })} required wrong={wrong('vni')} help={t('Who can send to UDP port 4789 of the hosts can send into it.')} />}
      {draft.kind !== 'bridge' && <TextField id="network-mtu" label={t('MTU')} value={draft.mtu} set={(mtu) => set({ mtu })} wrong={wrong('mtu')} help={t('Empty: 1500, and 1450 for a tunnel.')} />}
      <ChoiceField id="network-pool" label={t('Pool')} value={draft.pool} set={(pool) => set({ pool })} options={pools} none={t('The pool default')} />
      <TextField id="network-description" label={t('Description')} value={draft.description} set={(description) => set({ description })} />
    </FormDialog>
  );
}
