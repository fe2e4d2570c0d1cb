// The command line that does what a call does: `noun.some_verb` is `xenith noun some-verb` (docs/cli.md). A test holds
// the verbs and flags against the help of the CLI.

import type { MethodName } from '../api/generated';

type Params = Record<string, unknown>;
/** `many`: lists, of which each member is a flag of its own; one that stands bare is one argument behind the other. */
type Shape = { bare: string[]; flags?: string[]; many?: string[] };

export function quote(word: string): string {
  return /^[A-Za-z0-9_./=:,+@%-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** Fields that stand bare behind the verb, in this order, and those that are flags of their name. */
export const SHAPES: Partial<Record<MethodName, Shape>> = {
  'vm.start': { bare: ['vm'] },
  'vm.shutdown': { bare: ['vm'], flags: ['force'] },
  'vm.reboot': { bare: ['vm'], flags: ['force'] },
  'vm.power_off': { bare: ['vm'], flags: ['discard_memory'] },
  'vm.pause': { bare: ['vm'] },
  'vm.unpause': { bare: ['vm'] },
  'vm.suspend': { bare: ['vm'] },
  'vm.resume': { bare: ['vm'] },
  'vm.delete': { bare: ['vm'], flags: ['keep_disks'] },
  'vm.migrate': { bare: ['vm'], flags: ['host', 'move_disks', 'sr', 'bandwidth'] },
  'vm.insert_cd': { bare: ['vm', 'iso'] },
  'vm.eject_cd': { bare: ['vm'] },
  'vm.clone': { bare: ['vm', 'name'], flags: ['description', 'start'] },
  'vm.attach_disk': { bare: ['vm', 'disk'] },
  'vm.detach_disk': { bare: ['vm', 'device'] },
  'vm.attach_nic': { bare: ['vm', 'nic'] },
  'vm.detach_nic': { bare: ['vm', 'mac'] },
  'vm.set_nic': { bare: ['vm', 'mac'], flags: ['lock', 'no_addresses', 'link', 'rate'], many: ['address'] },
  'host.remove': { bare: ['host'], flags: ['force'] },
  'host.evacuate': { bare: ['host'], flags: ['move_disks'] },
  'host.upgrade': { bare: ['host', 'url'], flags: ['evacuate', 'move_disks'] },
  'host.reboot': { bare: ['host'], flags: ['evacuate', 'shut_down_vms', 'move_disks'] },
  'host.shutdown': { bare: ['host'], flags: ['evacuate', 'shut_down_vms', 'move_disks'] },
  'host.set_maintenance': { bare: ['host', 'maintenance'] },
  'host.set_address': { bare: ['host', 'address'] },
  'host.set_peer_address': { bare: ['host', 'address'] },
  'host.power': { bare: ['host', 'order'], flags: ['force'] },
  'host.set_power_control': { bare: ['host', 'kind', 'address'], flags: ['user', 'certificate'] },
  'host.set_management': { bare: ['host'], flags: ['address', 'gateway', 'dns', 'vlan', 'bond', 'interfaces', 'agent_address'] },
  'pool.create': { bare: ['name'], flags: ['description'] },
  'pool.delete': { bare: ['pool'] },
  'pool.balance': { bare: ['pool'], flags: ['goal'] },
  'pool.set_balance': { bare: ['pool'], flags: ['mode', 'goal', 'threshold', 'min_gain', 'ceiling', 'moves', 'at_once', 'per_host', 'per_hour', 'cool_down', 'hosts_on', 'power_hosts', 'power_cool_down'] },
  'pool.set_cpu_level': { bare: ['pool', 'level'] },
  'pool.update': { bare: ['pool'], flags: ['image', 'packages', 'reboot', 'at_once', 'vms_stay', 'move_disks'], many: ['host'] },
  'pool.pause_update': { bare: ['pool'] },
  'pool.resume_update': { bare: ['pool'] },
  'ha.enable': { bare: ['pool'], flags: ['sr', 'lease', 'watchdog', 'beat'] },
  'ha.disable': { bare: ['pool'] },
  'ha.set_priority': { bare: ['vm', 'priority'] },
  'network.create': { bare: ['name'], flags: ['bridge', 'interface', 'bond', 'private', 'internal', 'vlan', 'interfaces', 'bond_mode', 'encryption', 'mtu', 'pool', 'description'] },
  'network.set_encryption': { bare: ['network', 'encryption'] },
  'network.delete': { bare: ['network'] },
  'security_group.create': { bare: ['name'], flags: ['tag', 'pool', 'description', 'no_ingress', 'no_egress'], many: ['ingress', 'egress'] },
  'security_group.set_rules': { bare: ['group'], flags: ['no_ingress', 'no_egress'], many: ['ingress', 'egress'] },
  'security_group.delete': { bare: ['group'] },
  'vdi.create': { bare: ['name'], flags: ['size', 'host', 'sr'] },
  'vdi.import': { bare: ['name', 'url'], flags: ['host', 'sr', 'sha256'] },
  'vdi.upload': { bare: ['name', 'file'], flags: ['host', 'sr'] },
  'vdi.export': { bare: ['vdi', 'file'], flags: ['snapshot'] },
  'vdi.resize': { bare: ['vdi', 'size'] },
  'vdi.clone': { bare: ['vdi', 'name'] },
  'vdi.copy': { bare: ['vdi', 'name'], flags: ['host', 'sr'] },
  'vdi.migrate': { bare: ['vdi'], flags: ['host', 'sr'] },
  'vdi.break_lease': { bare: ['vdi'], flags: ['host'] },
  'vdi.delete': { bare: ['vdi'] },
  'sr.create': { bare: ['name'], flags: ['host', 'folder', 'nfs', 'nfs_options', 'disk', 'thin_pool'] },
  'sr.attach': { bare: ['sr', 'host'] },
  'sr.detach': { bare: ['sr', 'host'] },
  'sr.forget': { bare: ['sr'] },
  'sr.adopt': { bare: ['sr', 'vdi', 'name'] },
  'template.create': { bare: ['vm', 'name'], flags: ['description'] },
  'template.import': { bare: ['name', 'url'], flags: ['host', 'sr', 'sha256', 'uefi', 'memory', 'vcpus', 'description'] },
  'template.delete': { bare: ['template'] },
  'template.set_fragments': { bare: ['template', 'fragments'] },
  'fragment.create': { bare: ['name', 'file'], flags: ['pool', 'description'] },
  'fragment.update': { bare: ['fragment'], flags: ['file', 'description'] },
  'fragment.delete': { bare: ['fragment'] },
  'snapshot.create': { bare: ['name'], flags: ['vm', 'description', 'quiesce', 'memory'] },
  'snapshot.revert': { bare: ['snapshot'], flags: ['disks_only'] },
  'snapshot.delete': { bare: ['snapshot'] },
  'snapshot.clone': { bare: ['snapshot', 'name'], flags: ['start'] },
  'import.upload': { bare: ['file'], flags: ['name', 'memory', 'vcpus', 'firmware', 'network', 'new_macs', 'pool', 'host', 'no_prepare', 'start'], many: ['tag'] },
  'import.cut_over': { bare: ['import'], flags: ['at', 'force'] },
  'import.roll_back': { bare: ['import'] },
  'import.archive': { bare: ['import'] },
  'import.prepare': { bare: ['import'], flags: ['without'] },
  'wave.start': { bare: ['wave'] },
  'wave.pause': { bare: ['wave'] },
  'wave.delete': { bare: ['wave'] },
  'import.disconnect': { bare: ['source'] },
  'backup.download': { bare: ['backup', 'at', 'to'], flags: ['repository', 'disk'] },
  'backup.hold': { bare: ['backup', 'held'], flags: ['repository'] },
  'backup.delete': { bare: ['backup'], flags: ['repository'] },
  'backup.prove': { bare: ['backup'], flags: ['repository'] },
  'backup_job.run': { bare: ['job'] },
  'backup_job.delete': { bare: ['job'] },
  'backup_run.cancel': { bare: ['run'] },
  'repository.test': { bare: ['repository'] },
  'repository.verify': { bare: ['repository'], flags: ['deep'] },
  'repository.delete': { bare: ['repository'] },
  'alarm.silence': { bare: [], flags: ['rule', 'object', 'of', 'for', 'comment'] },
  'alarm.unsilence': { bare: ['silence'] },
  'alarm_rule.create': { bare: ['name'], flags: ['of', 'filter', 'metric', 'above', 'below', 'clear', 'for', 'severity', 'webhook', 'syslog'] },
  'alarm_rule.update': { bare: ['rule'], flags: ['enabled', 'filter', 'threshold', 'clear', 'for', 'severity', 'webhook', 'syslog'] },
  'alarm_rule.delete': { bare: ['rule'] },
  'mail.test': { bare: ['to'] },
  'standby.create': { bare: ['vm'], flags: ['host', 'repository', 'name', 'sr', 'keep_macs'] },
  'standby.follow': { bare: ['standby'] },
  'standby.fail_over': { bare: ['standby'], flags: ['force'] },
  'standby.fail_back': { bare: ['standby'], flags: ['deadline', 'force'] },
  'standby.release': { bare: ['standby'] },
  'standby.delete': { bare: ['standby'] },
  'user.delete': { bare: ['user'] },
  'user.totp_reset': { bare: ['user'] },
  'token.revoke': { bare: ['token'] },
  'task.cancel': { bare: ['task'] },
  'task.retry': { bare: ['task'] },
  'task.abandon': { bare: ['task'] },
};

/** Bytes as the CLI takes them: whole binary units. */
function size(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let step = 0;
  while (step < units.length - 1 && bytes % 1024 === 0 && bytes > 0) [bytes, step] = [bytes / 1024, step + 1];
  return `${bytes}${units[step]}`;
}

const withParts = (first: string, rest: Params) => [first, ...Object.entries(rest).filter(([, value]) => value != null).map(([name, value]) => `${name}=${value}`)].join(',');

const lasts = (seconds: unknown) => (seconds ? `${seconds}s` : undefined);
/** A switch that is on or off, and says nothing where it stays. */
const onOff = (value: unknown) => (value === undefined ? undefined : value ? 'on' : 'off');
/** Nobody is told by mail: nothing to say. */
const noMail = ({ mail_to, ...rest }: Params) => ((mail_to as string[] | undefined)?.length ? { ...rest, mail_to } : rest);

const commas = (list: unknown) => (Array.isArray(list) && list.length > 0 ? list.join(',') : undefined);

/** A list that is empty has a flag of its own; one that is not given has none. */
const listed = (list: unknown, name: string, none: string) => (Array.isArray(list) ? (list.length > 0 ? { [name]: list } : { [none]: true }) : {});

const directions = ({ ingress, egress, ...rest }: Params) => ({ ...rest, ...listed(ingress, 'ingress', 'no_ingress'), ...listed(egress, 'egress', 'no_egress') });

/** What a network is to be made of, as the flags of `network create`. */
function uplink({ kind, mode, interfaces, vni, ...rest }: Params = {}): Params {
  switch (kind) {
    case 'internal':
      return { internal: true };
    case 'private':
      return { private: vni };
    case 'bond':
      return { ...rest, interfaces: (interfaces as string[]).join(','), bond_mode: mode };
    default:
      return rest;
  }
}

/** A VM from a file, as the flags of `import upload`; what networks of the file are called is not in the call. */
function fromFile({ vm, file, no_prepare }: Params): Params {
  const { name, memory, vcpus, platform, nics = [], tags, pool, host, start } = vm as { name: string; memory: { target: number }; vcpus: { online: number }; platform: { firmware?: string }; nics?: { network: string; mac?: string }[]; tags?: string[]; pool?: string; host?: string; start?: boolean };
  const networks = [...new Set(nics.map(({ network }) => network))];
  const macs = nics.length > 0 && nics.every(({ mac }) => !mac);
  // Several are told apart by names that only the file has.
  if (networks.length > 1) return { vm, file, no_prepare };
  return { file, name, memory: `${memory.target}MiB`, vcpus: vcpus.online, firmware: platform.firmware, network: networks[0], new_macs: macs, tag: tags?.length ? tags : undefined, pool, host, no_prepare, start };
}
/** What becomes of the VMs of a host, as flags. */
const goingDown = ({ guests, ...rest }: Params) => ({ ...rest, evacuate: guests === 'evacuate', shut_down_vms: guests === 'shut-down' });

const minutes = (count: unknown) => (count === undefined ? undefined : `${String(count)}m`);

/** Parameters that the command line says otherwise. */
const SAYS: Partial<Record<MethodName, (params: Params) => Params>> = {
  // What comes needs a name there; what it is of is the last part of it.
  'backup.download': (params) => ({ ...params, to: `${/([^/:]+)\/*$/.exec(String(params.at))?.[1] ?? 'files'}.zip` }),
  'backup.hold': (params) => ({ ...params, held: params.held ? 'on' : 'off' }),
  'network.create': ({ uplink: made, ...rest }) => ({ ...rest, ...uplink(made as Params | undefined) }),
  'security_group.create': directions,
  'security_group.set_rules': directions,
  'vm.migrate': ({ bandwidth, ...rest }) => ({ ...rest, bandwidth: bandwidth === undefined ? undefined : Number(bandwidth) / 1024 ** 2 }),
  'vm.set_nic': ({ addresses, rate_mbit, ...rest }) => ({ ...rest, ...listed(addresses, 'address', 'no_addresses'), rate: rate_mbit }),
  'pool.set_balance': ({ threshold_percent, min_gain_percent, ceiling_percent, cool_down_minutes, power_hosts, power_cool_down_minutes, ...rest }) => ({
    ...rest,
    threshold: threshold_percent,
    min_gain: min_gain_percent,
    ceiling: ceiling_percent,
    cool_down: minutes(cool_down_minutes),
    power_hosts: power_hosts === undefined ? undefined : power_hosts ? 'on' : 'off',
    power_cool_down: minutes(power_cool_down_minutes),
  }),
  'ha.enable': ({ lease_s, watchdog_s, beat_s, ...rest }) => ({ ...rest, lease: lease_s, watchdog: watchdog_s, beat: beat_s }),
  'pool.set_cpu_level': ({ mode, ...rest }) => {
    const { kind, features } = mode as { kind: string; features?: string };
    return { ...rest, level: features ?? kind };
  },
  'host.set_power_control': ({ kind, fingerprint, ...rest }) => (kind ? { ...rest, kind, certificate: fingerprint } : { host: rest.host, kind: 'none' }),
  'host.set_management': ({ dns, interfaces, ...rest }) => ({ ...rest, dns: commas(dns), interfaces: commas(interfaces) }),
  'host.set_maintenance': (params) => ({ ...params, maintenance: params.maintenance ? 'on' : 'off' }),
  'host.reboot': goingDown,
  'host.shutdown': goingDown,
  'pool.update': ({ pool, what, hosts, vms_stay, ...rest }) => {
    const { kind, url } = what as { kind: string; url?: string };
    return { pool, [kind]: url ?? true, ...rest, vms_stay: vms_stay || undefined, host: (hosts as string[] | undefined)?.length ? hosts : undefined };
  },
  'alarm.silence': ({ seconds, ...rest }) => ({ ...rest, for: lasts(seconds) }),
  'alarm_rule.create': ({ for_s, when, threshold, ...rest }) => ({ ...noMail(rest), [String(when ?? 'above')]: String(threshold), for: lasts(for_s) }),
  'alarm_rule.update': ({ for_s, enabled, ...rest }) => ({ ...rest, enabled: onOff(enabled), for: for_s === 0 ? '0s' : lasts(for_s) }),
  'standby.create': ({ networks, ...rest }) => (Object.keys((networks as object | undefined) ?? {}).length ? { ...rest, networks } : rest),
  'standby.fail_back': ({ deadline_s, ...rest }) => ({ ...rest, deadline: lasts(deadline_s) }),
  'import.upload': fromFile,
  // The call has the size of the file, and the command the file.
  'vdi.upload': ({ capacity: _size, ...rest }) => ({ ...rest, file: 'FILE' }),
  'vdi.export': (params) => ({ ...params, file: 'FILE.qcow2' }),
  // The call has the text, and the command the file that it is in.
  'fragment.create': ({ user_data: _text, ...rest }) => ({ ...rest, file: 'FILE' }),
  'fragment.update': ({ user_data, ...rest }) => ({ ...rest, file: user_data === undefined ? undefined : 'FILE' }),
  'vdi.create': (params) => ({ ...params, size: size(params.size as number) }),
  'vdi.resize': (params) => ({ ...params, size: size(params.size as number) }),
  'vm.attach_disk': ({ disk, ...rest }) => {
    const { size: bytes, vdi, access, device } = disk as { size?: number; vdi?: string; access?: string; device?: string };
    return { ...rest, disk: withParts(bytes ? `size=${size(bytes)}` : `vdi=${vdi}`, { device, access: access === 'read-only' ? 'ro' : undefined }) };
  },
  'vm.attach_nic': ({ nic, ...rest }) => {
    const { network, mac } = nic as { network: string; mac?: string };
    return { ...rest, nic: withParts(network, { mac }) };
  },
  'sr.create': ({ spec, ...rest }) => {
    const { kind, path, server, export: folder, options, disks, pool } = spec as { kind: string; path?: string; server?: string; export?: string; options?: string; disks?: string[]; pool?: string };
    // Of several disks each is a flag of its own.
    if (kind === 'lvm-thin') return { ...rest, disk: disks && disks.length > 1 ? disks : disks?.[0], thin_pool: pool };
    return kind === 'folder' ? { ...rest, folder: path } : { ...rest, nfs: `${server}:${folder}`, nfs_options: options };
  },
  'template.import': ({ platform, memory, vcpus, ...rest }) => ({
    ...rest,
    uefi: (platform as { firmware?: string }).firmware === 'uefi',
    memory: `${(memory as { target: number }).target}MiB`,
    vcpus: (vcpus as { online: number }).online,
  }),
};

/** One call, or several as a batch. */
export function rpcLines(calls: { method: MethodName; params: object }[]): string {
  const all = calls.map(({ method, params }, index) => ({ jsonrpc: '2.0', id: index + 1, method, params }));
  return JSON.stringify(all.length === 1 ? all[0] : all, null, 2);
}

const said = (params: object) => Object.entries(params).filter(([, value]) => value !== undefined && value !== null && value !== '' && value !== false);

export function cliLine(method: MethodName, params: object): string {
  const shape = SHAPES[method];
  const all = SAYS[method]?.(params as Params) ?? params;
  const given = said(all);
  // In a change an empty value takes something away, and `false` is not what is usual.
  const loses = method.endsWith('.update') && Object.values(all).some((value) => value === '' || value === false || value === null);
  const many = shape?.many ?? [];
  const known = [...(shape?.bare ?? []), ...(shape?.flags ?? []), ...many];
  const plain = given.every(([name, value]) => known.includes(name) && (typeof value !== 'object' || many.includes(name) || (Array.isArray(value) && !!shape?.bare.includes(name))));
  if (!shape || !plain || loses) return `xenith rpc ${method} ${quote(JSON.stringify(params))}`;
  const values = new Map(given);
  const bare = shape.bare.flatMap((name) => values.get(name) ?? []).map((word) => quote(String(word)));
  const flags = given
    .filter(([name]) => !shape.bare.includes(name))
    .flatMap(([name, value]) => (Array.isArray(value) ? value : [value]).map((one) => (one === true ? `--${name.replaceAll('_', '-')}` : `--${name.replaceAll('_', '-')} ${quote(String(one))}`)));
  return [`xenith ${method.replace('.', ' ').replaceAll('_', '-')}`, ...bare, ...flags].join(' ');
}
