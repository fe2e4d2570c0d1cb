// What somebody fills in to declare a network, and what is asked of the API then.

import type { BondMode, CreateNetwork, Uplink } from '../../api/generated';
import { msg } from '../../i18n/msg';

export type Kind = 'bridge' | Uplink['kind'];

export interface NetworkDraft {
  name: string;
  kind: Kind;
  bridge: string;
  interface: string;
  vlan: string;
  bond: string;
  interfaces: string;
  mode: BondMode;
  vni: string;
  mtu: string;
  pool: string;
  description: string;
}

export const EMPTY_NETWORK: NetworkDraft = { name: '', kind: 'bridge', bridge: '', interface: '', vlan: '', bond: '', interfaces: '', mode: 'active-backup', vni: '', mtu: '', pool: '', description: '' };

export const KINDS: Record<Kind, string> = {
  bridge: msg('A bridge that the hosts have'),
  interface: msg('A network card of each host'),
  bond: msg('Several network cards as one (a bond)'),
  internal: msg('Nothing: the VMs of one host among themselves'),
  private: msg('A tunnel to the other hosts (VXLAN, not encrypted)'),
};

/** As Linux takes names of interfaces. */
const NAME = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,14}$/;

const between = (text: string, least: number, most: number) => /^\d+$/.test(text) && Number(text) >= least && Number(text) <= most;
const cards = (text: string) => text.split(/[\s,]+/).filter(Boolean);

export type NetworkProblems = Partial<Record<keyof NetworkDraft, string>>;

/** What is filled in and will not do, by field. */
export function networkProblems(draft: NetworkDraft): NetworkProblems {
  const found: NetworkProblems = {};
  const name = msg('At most 15 letters, digits, dots, hyphens and underscores.');
  const tagged = draft.kind === 'interface' || draft.kind === 'bond';
  if (draft.kind === 'interface' && !NAME.test(draft.interface)) found.interface = name;
  if (draft.kind === 'bond' && !NAME.test(draft.bond)) found.bond = name;
  if (draft.kind === 'bond' && (cards(draft.interfaces).length < 2 || !cards(draft.interfaces).every((one) => NAME.test(one)))) found.interfaces = msg('Two or more, with commas between.');
  if (tagged && draft.vlan !== '' && !between(draft.vlan, 1, 4094)) found.vlan = msg('A number from 1 to 4094, or none.');
  if (draft.kind === 'private' && !between(draft.vni, 1, 16_777_215)) found.vni = msg('A number from 1 to 16777215.');
  if (draft.kind !== 'bridge' && draft.mtu !== '' && !between(draft.mtu, 1280, 9216)) found.mtu = msg('A number from 1280 to 9216, or none.');
  return found;
}

export function networkReady(draft: NetworkDraft): boolean {
  return draft.name !== '' && (draft.kind !== 'bridge' || draft.bridge !== '') && Object.keys(networkProblems(draft)).length === 0;
}

function uplink(draft: NetworkDraft): Uplink | undefined {
  const vlan = draft.vlan ? { vlan: Number(draft.vlan) } : {};
  switch (draft.kind) {
    case 'bridge':
      return undefined;
    case 'interface':
      return { kind: 'interface', interface: draft.interface, ...vlan };
    case 'bond':
      return { kind: 'bond', bond: draft.bond, interfaces: cards(draft.interfaces), mode: draft.mode, ...vlan };
    case 'internal':
      return { kind: 'internal' };
    case 'private':
      return { kind: 'private', vni: Number(draft.vni) };
  }
}

export function createNetwork(draft: NetworkDraft): CreateNetwork {
  const made = uplink(draft);
  return {
    name: draft.name,
    description: draft.description,
    ...(made ? { uplink: made, ...(draft.mtu ? { mtu: Number(draft.mtu) } : {}) } : { bridge: draft.bridge }),
    ...(draft.pool ? { pool: draft.pool } : {}),
  };
}

/** What a network is made of, in a few words and the names that were given. */
export function uplinkWords(uplink: Uplink | null | undefined, t: (text: string, values?: Record<string, unknown>) => string): string {
  const on = (name: string, vlan: number | null | undefined) => (vlan ? t('VLAN {{vlan}} of {{name}}', { vlan, name }) : name);
  if (!uplink) return t('what the hosts’ bridge has');
  switch (uplink.kind) {
    case 'interface':
      return on(uplink.interface, uplink.vlan);
    case 'bond':
      return on(`${uplink.bond} (${uplink.interfaces.join(', ')})`, uplink.vlan);
    case 'internal':
      return t('nothing');
    case 'private':
      return t('tunnel {{vni}}', { vni: uplink.vni });
  }
}
