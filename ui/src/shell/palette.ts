// What the palette offers for what was typed: places, objects, and verbs with an object.

import type { Socket } from '../api/socket';
import type { User, VmRow } from '../api/generated';
import { quoted } from '../list/filter';
import { VM_VERBS, verbLabel, vmCannot, type VerbInfo } from '../rules/vm';
import { seesSecurity } from '../rules/may';
import { PLACES } from './nav';

export interface Offer {
  key: string;
  group: string;
  label: string;
  hint?: string;
  go?: string;
  /** A verb with its VM: it asks what its menu asks. */
  verb?: { vm: VmRow; info: VerbInfo };
  /** Why it cannot be done. */
  cannot?: string;
}

type Translate = (text: string, values?: Record<string, unknown>) => string;

const plain = (text: string) => text.toLocaleLowerCase().normalize('NFD').replace(/\p{M}/gu, '');

/** `shut down web` is the verb and the rest; the longest verb wins. */
export function verbOf(typed: string, t: Translate): { verb: VerbInfo; rest: string } | undefined {
  const wanted = plain(typed);
  const names = VM_VERBS.flatMap((verb) => [t(verb.label), verb.label].map((name) => ({ verb, name: plain(name) })));
  names.sort((a, b) => b.name.length - a.name.length);
  const found = names.find(({ name }) => wanted === name || wanted.startsWith(`${name} `));
  return found && { verb: found.verb, rest: typed.slice(found.name.length).trim() };
}

export function places(typed: string, user: User, t: Translate): Offer[] {
  const secure = seesSecurity(user);
  const wanted = plain(typed);
  const fits = PLACES.filter((place) => (secure || !place.secure) && plain(t(place.label)).includes(wanted));
  const offers: Offer[] = fits.map((place) => ({
    key: place.path,
    group: t('Go to'),
    label: t(place.label),
    hint: `g ${place.key}`,
    go: place.path,
  }));
  if (plain(t('Create a VM')).includes(wanted)) {
    offers.push({ key: 'new', group: t('Do'), label: t('Create a VM'), go: '/vms/new' });
  }
  VM_VERBS.filter((verb) => wanted && plain(t(verb.label)).startsWith(wanted)).forEach((verb) =>
    offers.push({ key: verb.method, group: t('Do'), label: t('{{verb}} …', { verb: t(verb.label) }), hint: t('then a VM') }),
  );
  return offers;
}

function doing(vm: VmRow, verb: VerbInfo, user: User, t: Translate): Offer {
  const title = t('{{verb}}: {{name}}', { verb: t(verbLabel(verb, vm.power)), name: vm.name });
  return {
    key: `${verb.method} ${vm.id}`,
    group: t('Do'),
    label: title,
    hint: vm.host_name ?? undefined,
    verb: { vm, info: verb },
    cannot: vmCannot(user, verb.method, vm),
  };
}

export async function search(socket: Socket, typed: string, user: User, t: Translate): Promise<Offer[]> {
  const verb = verbOf(typed, t);
  const words = verb ? verb.rest : typed.trim();
  const none = { items: [] };
  const vms = await socket.call('vm.list', { filter: quoted(words), limit: 8 });
  if (verb) return vms.items.map((vm) => doing(vm, verb.verb, user, t));
  // What one may not see at all is no reason to find nothing else.
  const few = { filter: quoted(words), limit: 5 };
  const [hosts, disks, networks, pools, templates, srs, groups, fragments] = await Promise.all([
    socket.call('host.list', few).catch(() => none),
    socket.call('vdi.list', few).catch(() => none),
    socket.call('network.list', few).catch(() => none),
    socket.call('pool.list', few).catch(() => none),
    socket.call('template.list', few).catch(() => none),
    socket.call('sr.list', few).catch(() => none),
    socket.call('security_group.list', few).catch(() => none),
    socket.call('fragment.list', few).catch(() => none),
  ]);
  return [
    ...vms.items.map((vm) => ({ key: vm.id, group: t('Virtual machines'), label: vm.name, hint: vm.host_name ?? undefined, go: `/vms/${vm.id}` })),
    ...hosts.items.map((host) => ({ key: host.id, group: t('Hosts'), label: host.name, hint: host.address, go: `/hosts/${host.id}` })),
    ...disks.items.map((disk) => ({ key: disk.id, group: t('Disks'), label: disk.name, go: `/disks?q=${encodeURIComponent(disk.name)}` })),
    ...networks.items.map((network) => ({ key: network.id, group: t('Networks'), label: network.name, hint: network.bridge, go: `/networks/${network.id}` })),
    ...templates.items.map((template) => ({ key: template.id, group: t('Templates'), label: template.name, go: `/templates/${template.id}` })),
    ...fragments.items.map((fragment) => ({ key: fragment.id, group: t('Fragments'), label: fragment.name, go: `/fragments/${fragment.id}` })),
    ...srs.items.map((sr) => ({ key: sr.id, group: t('Storage'), label: sr.name, go: `/storage/${sr.id}` })),
    ...groups.items.map((group) => ({ key: group.id, group: t('Security groups'), label: group.name, hint: group.tag, go: `/security-groups?q=${encodeURIComponent(quoted(group.name))}` })),
    ...pools.items.map((pool) => ({ key: pool.id, group: t('Pools'), label: pool.name, go: `/pools/${pool.id}` })),
  ];
}
