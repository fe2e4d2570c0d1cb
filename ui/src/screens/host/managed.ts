// What somebody fills in to change the management interface of a host; what is empty stays as it is.

import type { BondChoice, HostManagement } from '../../api/generated';
import { msg } from '../../i18n/msg';

export interface ManagementDraft {
  address: string;
  gateway: string;
  dns: string;
  vlan: string;
  bond: BondChoice | '';
  interfaces: string;
  agent: string;
}

export const NO_CHANGE: ManagementDraft = { address: '', gateway: '', dns: '', vlan: '', bond: '', interfaces: '', agent: '' };

const several = (text: string) => text.split(/[\s,]+/).filter(Boolean);
const IP = /^(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]*:[0-9a-fA-F:.]+)$/;
/** As Linux takes names of interfaces. */
const CARD = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,14}$/;
const AGENT = /^(\[[0-9a-fA-F:.%]+\]|[^\s:/[\]]+):\d{1,5}$/;

/** What will not do, by field; marked. */
export function managementProblems(draft: ManagementDraft): Partial<Record<keyof ManagementDraft, string>> {
  const found: Partial<Record<keyof ManagementDraft, string>> = {};
  const [ip, length] = draft.address.split('/');
  if (draft.address && draft.address !== 'dhcp' && !(IP.test(ip ?? '') && /^\d{1,3}$/.test(length ?? ''))) found.address = msg('dhcp, or an address with its network, such as 192.0.2.10/24.');
  if (draft.gateway && !IP.test(draft.gateway)) found.gateway = msg('An IP address.');
  if (!several(draft.dns).every((one) => IP.test(one))) found.dns = msg('IP addresses, with commas between.');
  if (draft.vlan && !(/^\d+$/.test(draft.vlan) && Number(draft.vlan) <= 4094)) found.vlan = msg('A number from 1 to 4094; 0: none.');
  if (!several(draft.interfaces).every((one) => CARD.test(one))) found.interfaces = msg('Names of network cards, with commas between.');
  if (draft.agent && !AGENT.test(draft.agent)) found.agent = msg('An address and a port, such as xen1.example.org:8444.');
  return found;
}

export function managementParams(host: string, draft: ManagementDraft): HostManagement {
  return {
    host,
    ...(draft.address ? { address: draft.address } : {}),
    ...(draft.gateway ? { gateway: draft.gateway } : {}),
    ...(draft.dns ? { dns: several(draft.dns) } : {}),
    ...(draft.vlan ? { vlan: Number(draft.vlan) } : {}),
    ...(draft.bond ? { bond: draft.bond } : {}),
    ...(draft.interfaces ? { interfaces: several(draft.interfaces) } : {}),
    ...(draft.agent ? { agent_address: draft.agent } : {}),
  };
}
