// The command line that does what a call does: `noun.some_verb` is `xenith noun some-verb` (docs/cli.md).

import type { MethodName } from '../api/generated';

type Params = Record<string, unknown>;

export function quote(word: string): string {
  return /^[A-Za-z0-9_./=:,+@%-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** What stands behind the verb, by its field in the parameters; booleans are flags. */
const POSITIONAL = ['vm', 'host', 'pool', 'network', 'vdi', 'user', 'token', 'task', 'name', 'device', 'mac'];
const SIMPLE: Partial<Record<MethodName, string[]>> = {
  'vm.start': ['vm'],
  'vm.shutdown': ['vm', 'force'],
  'vm.reboot': ['vm', 'force'],
  'vm.power_off': ['vm'],
  'vm.pause': ['vm'],
  'vm.unpause': ['vm'],
  'vm.suspend': ['vm'],
  'vm.resume': ['vm'],
  'vm.delete': ['vm', 'keep_disks'],
  'vm.detach_disk': ['vm', 'device'],
  'vm.detach_nic': ['vm', 'mac'],
  'host.remove': ['host', 'force'],
  'pool.create': ['name', 'description'],
  'pool.delete': ['pool'],
  'network.create': ['name', 'bridge', 'pool', 'description'],
  'network.delete': ['network'],
  'vdi.delete': ['vdi'],
  'user.delete': ['user'],
  'token.revoke': ['token'],
  'task.cancel': ['task'],
  'task.retry': ['task'],
  'task.abandon': ['task'],
};

export function rpcLine(method: MethodName, params: object): string {
  return JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }, null, 2);
}

export function cliLine(method: MethodName, params: object): string {
  const given = Object.entries(params as Params).filter(
    ([, value]) => value !== undefined && value !== null && value !== '' && value !== false,
  );
  const verb = `xenith ${method.replace('.', ' ').replaceAll('_', '-')}`;
  if (method === 'host.set_maintenance') {
    const { host, maintenance } = params as Params;
    return `${verb} ${quote(String(host))} ${maintenance ? 'on' : 'off'}`;
  }
  const known = SIMPLE[method];
  const plain = given.every(([name, value]) => known?.includes(name) && typeof value !== 'object');
  if (!known || !plain) return `xenith rpc ${method} ${quote(JSON.stringify(Object.fromEntries(given)))}`;
  // `network create NAME --pool POOL`: only what the verb is about stands without a flag.
  const bare = known.filter((name) => POSITIONAL.includes(name) && !(name === 'pool' && known[0] === 'name'));
  const words = given.map(([name, value]) => {
    if (bare.includes(name)) return { order: bare.indexOf(name), text: quote(String(value)) };
    const flag = `--${name.replaceAll('_', '-')}`;
    return { order: 100, text: value === true ? flag : `${flag} ${quote(String(value))}` };
  });
  words.sort((a, b) => a.order - b.order);
  return [verb, ...words.map((word) => word.text)].join(' ');
}
