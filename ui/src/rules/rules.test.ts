// What buttons promise, and what is copied from them.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Binding, MethodName, Power, User } from '../api/generated';
import { cliLine, quote, rpcLines, SHAPES } from './cli';
import { mayNot } from './may';
import { VM_VERBS, verbLabel, verbParams, vmCannot, vmCannotChange, vmCannotMove, type VerbInfo, type VmVerb } from './vm';

const user = (...bindings: Binding[]): User => ({ id: 'u', name: 'dora', bindings, disabled: false, created: '' });
const everywhere = (role: Binding['role']) => user({ role, scope: { kind: 'all' } });

describe('who may', () => {
  const tagged = user({ role: 'operator', scope: { kind: 'tag', value: 'dev' } });
  const pooled = user({ role: 'admin', scope: { kind: 'pool', value: 'p1' } });
  it.each<[string, User, MethodName, { pool?: string; tags?: string[] } | undefined, boolean]>([
    ['a viewer looks', everywhere('viewer'), 'vm.list', undefined, true],
    ['a viewer does not start', everywhere('viewer'), 'vm.start', undefined, false],
    ['an operator starts', everywhere('operator'), 'vm.start', { pool: 'p9' }, true],
    ['an operator does not add hosts', everywhere('operator'), 'host.add', undefined, false],
    ['an admin does', everywhere('admin'), 'host.add', undefined, true],
    ['a tag reaches its VMs', tagged, 'vm.start', { pool: 'p1', tags: ['dev'] }, true],
    ['and no others', tagged, 'vm.start', { pool: 'p1', tags: ['prod'] }, false],
    ['a pool’s admin has its VMs', pooled, 'vm.delete', { pool: 'p1' }, true],
    ['but not users', pooled, 'user.list', undefined, false],
    ['and its hosts', pooled, 'host.remove', { pool: 'p1' }, true],
    ['and may add some', pooled, 'host.add', undefined, true],
    ['but not those of another', pooled, 'host.remove', { pool: 'p9' }, false],
    ['nor what all pools share', pooled, 'repository.create', undefined, false],
    ['a tag has no hosts', user({ role: 'admin', scope: { kind: 'tag', value: 'dev' } }), 'host.remove', { pool: 'p1' }, false],
    ['nobody is refused their own', user(), 'auth.whoami', undefined, true],
    ['without a role nothing is seen', user(), 'vm.list', undefined, false],
  ])('%s', (_name, who, method, place, allowed) => {
    expect(mayNot(who, method, place) === undefined).toBe(allowed);
  });
});

describe('what a VM can', () => {
  const able: Record<Power, VmVerb[]> = {
    stopped: ['vm.start', 'vm.delete'],
    crashed: ['vm.start', 'vm.power_off', 'vm.delete'],
    running: ['vm.shutdown', 'vm.reboot', 'vm.pause', 'vm.suspend', 'vm.power_off'],
    paused: ['vm.unpause', 'vm.power_off'],
    suspended: ['vm.resume', 'vm.power_off'],
    starting: ['vm.power_off'],
    stopping: ['vm.power_off'],
    suspending: ['vm.power_off'],
    resuming: ['vm.power_off'],
    unknown: [],
  };
  it.each(Object.entries(able))('when it is %s', (power, verbs) => {
    const can = VM_VERBS.filter(({ method }) => !vmCannot(everywhere('operator'), method, { power: power as Power, managed: true }));
    expect(can.map(({ method }) => method).sort()).toEqual([...verbs].sort());
  });

  it('loses saved memory by a verb of that name only', () => {
    const off = VM_VERBS.find(({ method }) => method === 'vm.power_off') as VerbInfo;
    expect(verbLabel(off, 'running')).toBe('Power off');
    expect(verbParams('vm.power_off', { id: 'v', power: 'running' })).toEqual({ vm: 'v' });
    expect(verbLabel(off, 'suspended')).toBe('Discard the saved memory');
    expect(verbParams('vm.power_off', { id: 'v', power: 'suspended' })).toEqual({ vm: 'v', discard_memory: true });
    expect(verbParams('vm.resume', { id: 'v', power: 'suspended' })).toEqual({ vm: 'v' });
  });

  it('is not offered what it is protected from', () => {
    const guarded = { power: 'stopped' as const, managed: true, protection: { delete: true, start: true } };
    expect(vmCannot(everywhere('operator'), 'vm.delete', guarded)).toMatch(/protected/);
    expect(vmCannot(everywhere('operator'), 'vm.start', guarded)).toMatch(/protected/);
  });

  it('leaves one that stands by off, and can turn it off', () => {
    const standing = { managed: true, standby_of: 'v' };
    const can = (power: Power) => VM_VERBS.filter(({ method }) => !vmCannot(everywhere('operator'), method, { power, ...standing })).map(({ method }) => method);
    expect(can('stopped')).toEqual([]);
    expect(can('running')).toEqual(['vm.shutdown', 'vm.power_off']);
    expect(vmCannotChange(everywhere('admin'), 'vm.update', standing)).toMatch(/stands by/);
  });

  it('moves what runs and what is off, unless it is protected', () => {
    const why = (power: Power, migration = false) => vmCannotMove(everywhere('admin'), { power, managed: true, protection: { migration } });
    expect(why('running')).toBeUndefined();
    expect(why('stopped')).toBeUndefined();
    expect(why('paused')).toMatch(/paused/);
    expect(why('suspended')).toMatch(/resume/);
    expect(why('running', true)).toMatch(/protected/);
    expect(vmCannotMove(everywhere('viewer'), { power: 'running', managed: true })).toBeDefined();
  });

  it('leaves foreign domains alone', () => {
    const can = VM_VERBS.filter(({ method }) => !vmCannot(everywhere('admin'), method, { power: 'running', managed: false }));
    expect(can).toEqual([]);
  });
});

describe('the command line', () => {
  it.each<[MethodName, object, string]>([
    ['vm.start', { vm: 'web-1' }, 'xenith vm start web-1'],
    ['vm.power_off', { vm: 'web 1' }, "xenith vm power-off 'web 1'"],
    ['vm.power_off', { vm: 'web-1', discard_memory: true }, 'xenith vm power-off web-1 --discard-memory'],
    ['vm.delete', { vm: 'web-1', keep_disks: true }, 'xenith vm delete web-1 --keep-disks'],
    ['vm.detach_disk', { device: 'xvdb', vm: 'web-1' }, 'xenith vm detach-disk web-1 xvdb'],
    ['vm.migrate', { vm: 'web-1', host: 'xen2', move_disks: true }, 'xenith vm migrate web-1 --host xen2 --move-disks'],
    ['vm.migrate', { vm: 'web-1', move_disks: true, bandwidth: 50 * 1024 ** 2 }, 'xenith vm migrate web-1 --move-disks --bandwidth 50'],
    ['host.evacuate', { host: 'xen1', move_disks: true }, 'xenith host evacuate xen1 --move-disks'],
    ['host.set_maintenance', { host: 'xen1', maintenance: true }, 'xenith host set-maintenance xen1 on'],
    ['host.upgrade', { host: 'xen1', url: 'https://x/live', evacuate: true }, 'xenith host upgrade xen1 https://x/live --evacuate'],
    ['host.reboot', { host: 'xen1', guests: 'shut-down' }, 'xenith host reboot xen1 --shut-down-vms'],
    ['host.shutdown', { host: 'xen1', guests: 'evacuate', move_disks: true }, 'xenith host shutdown xen1 --move-disks --evacuate'],
    ['host.power', { host: 'xen1', order: 'off', force: true }, 'xenith host power xen1 off --force'],
    ['host.set_power_control', { host: 'xen1', kind: 'redfish', address: 'bmc1', user: 'xenith', fingerprint: 'aa' }, 'xenith host set-power-control xen1 redfish bmc1 --user xenith --certificate aa'],
    ['host.set_power_control', { host: 'xen1' }, 'xenith host set-power-control xen1 none'],
    ['ha.enable', { pool: 'default', sr: 'nas', lease_s: 90 }, 'xenith ha enable default --sr nas --lease 90'],
    ['ha.set_priority', { vm: 'db-1', priority: 'high' }, 'xenith ha set-priority db-1 high'],
    ['pool.update', { pool: 'default', what: { kind: 'image', url: 'https://x/live' }, at_once: 2, vms_stay: false }, 'xenith pool update default --image https://x/live --at-once 2'],
    ['pool.update', { pool: 'default', what: { kind: 'packages' }, hosts: ['xen1', 'xen2'] }, 'xenith pool update default --packages --host xen1 --host xen2'],
    ['pool.update', { pool: 'default', what: { kind: 'reboot' }, at_once: 1, vms_stay: false, move_disks: true }, 'xenith pool update default --reboot --at-once 1 --move-disks'],
    ['network.create', { name: 'lan', bridge: 'xenbr0', pool: 'p', description: '' }, 'xenith network create lan --bridge xenbr0 --pool p'],
    ['network.create', { name: 'office', description: '', uplink: { kind: 'interface', interface: 'eth1', vlan: 20 }, mtu: 9000 }, 'xenith network create office --mtu 9000 --interface eth1 --vlan 20'],
    ['network.create', { name: 'nas', uplink: { kind: 'bond', bond: 'b0', interfaces: ['eth2', 'eth3'], mode: 'lacp' } }, 'xenith network create nas --bond b0 --interfaces eth2,eth3 --bond-mode lacp'],
    ['network.create', { name: 'lab', uplink: { kind: 'internal' } }, 'xenith network create lab --internal'],
    ['network.create', { name: 'back', uplink: { kind: 'private', vni: 5 } }, 'xenith network create back --private 5'],
    ['security_group.create', { name: 'web', tag: 'web', ingress: ['tcp:80,443', 'tcp:22 10.0.0.0/8'], egress: null }, "xenith security-group create web --tag web --ingress tcp:80,443 --ingress 'tcp:22 10.0.0.0/8'"],
    ['security_group.set_rules', { group: 'db', ingress: [], egress: ['any'] }, 'xenith security-group set-rules db --no-ingress --egress any'],
    ['vm.set_nic', { vm: 'web-1', mac: '00:16:3e:00:00:01', lock: 'addresses', addresses: ['10.0.0.7', 'fd00::7'] }, 'xenith vm set-nic web-1 00:16:3e:00:00:01 --lock addresses --address 10.0.0.7 --address fd00::7'],
    ['vm.set_nic', { vm: 'web-1', mac: '00:16:3e:00:00:01', addresses: [], rate_mbit: 0 }, 'xenith vm set-nic web-1 00:16:3e:00:00:01 --no-addresses --rate 0'],
    ['vm.attach_disk', { vm: 'web-1', disk: { size: 20 * 1024 ** 3, access: 'read-only' } }, 'xenith vm attach-disk web-1 size=20GiB,access=ro'],
    ['vm.attach_nic', { vm: 'web-1', nic: { network: 'lan' } }, 'xenith vm attach-nic web-1 lan'],
    ['pool.balance', { pool: 'default', goal: 'density' }, 'xenith pool balance default --goal density'],
    ['pool.set_balance', { pool: 'default', mode: 'automatic', min_gain_percent: 0, cool_down_minutes: 90 }, 'xenith pool set-balance default --mode automatic --min-gain 0 --cool-down 90m'],
    ['pool.set_balance', { pool: 'default', power_hosts: true, hosts_on: 3, power_cool_down_minutes: 45 }, 'xenith pool set-balance default --hosts-on 3 --power-hosts on --power-cool-down 45m'],
    ['pool.set_cpu_level', { pool: 'default', mode: { kind: 'auto' } }, 'xenith pool set-cpu-level default auto'],
    ['pool.set_cpu_level', { pool: 'default', mode: { kind: 'set', features: 'GenuineIntel:178bfbff' } }, 'xenith pool set-cpu-level default GenuineIntel:178bfbff'],
    ['vdi.break_lease', { vdi: 'd', host: 'xen2' }, 'xenith vdi break-lease d --host xen2'],
    ['template.set_fragments', { template: 'debian', fragments: ['base', 'my web'] }, "xenith template set-fragments debian base 'my web'"],
    ['template.set_fragments', { template: 'debian', fragments: [] }, 'xenith template set-fragments debian'],
    ['fragment.create', { name: 'base', user_data: '#cloud-config\n', description: '' }, 'xenith fragment create base FILE'],
    ['fragment.update', { fragment: 'base', user_data: '#!/bin/sh\n', description: 'x y' }, "xenith fragment update base --description 'x y' --file FILE"],
    ['fragment.update', { fragment: 'base', description: '' }, `xenith rpc fragment.update '{"fragment":"base","description":""}'`],
    ['vdi.export', { vdi: 'd' }, 'xenith vdi export d FILE.qcow2'],
    ['vdi.upload', { name: 'd', host: 'xen1', capacity: 512 }, 'xenith vdi upload d FILE --host xen1'],
    [
      'import.upload',
      {
        vm: { name: 'shop', platform: { kind: 'hvm', firmware: 'uefi' }, vcpus: { online: 2, max: 2 }, memory: { target: 2048, max: 2048 }, disks: [{ size: 1 }], nics: [{ network: 'lan', mac: '00:50:56:00:00:01' }], tags: ['web'], start: true },
        disks: [{ name: 'd', capacity: 1 }],
        file: 'shop.ova',
      },
      'xenith import upload shop.ova --name shop --memory 2048MiB --vcpus 2 --firmware uefi --network lan --tag web --start',
    ],
    ['vdi.resize', { vdi: 'd', size: 40 * 1024 ** 3 }, 'xenith vdi resize d 40GiB'],
    ['vdi.create', { name: 'd', size: 1536 * 1024 ** 2, host: 'xen1' }, 'xenith vdi create d --size 1536MiB --host xen1'],
    ['sr.create', { name: 'nas', host: 'xen1', spec: { kind: 'nfs', server: 'nas', export: '/vms' } }, 'xenith sr create nas --host xen1 --nfs nas:/vms'],
    ['sr.create', { name: 'fast', host: 'xen1', spec: { kind: 'lvm-thin', disks: ['/dev/sdb'] } }, 'xenith sr create fast --host xen1 --disk /dev/sdb'],
    ['sr.create', { name: 'fast', host: 'xen1', spec: { kind: 'lvm-thin', pool: 'vg/data' } }, 'xenith sr create fast --host xen1 --thin-pool vg/data'],
    ['snapshot.create', { vm: 'web-1', name: 'before', memory: true }, 'xenith snapshot create before --vm web-1 --memory'],
    ['snapshot.clone', { snapshot: 's', name: 'web-2', start: true }, 'xenith snapshot clone s web-2 --start'],
    [
      'template.import',
      { name: 'deb', url: 'https://x/y', host: 'xen1', platform: { kind: 'hvm', firmware: 'uefi' }, vcpus: { online: 2, max: 2 }, memory: { target: 1024, max: 1024 } },
      'xenith template import deb https://x/y --host xen1 --uefi --memory 1024MiB --vcpus 2',
    ],
    ['alarm.silence', { rule: 'busy', of: 'host', object: 'xen1', seconds: 7200, comment: 'load test' }, "xenith alarm silence --rule busy --of host --object xen1 --comment 'load test' --for 7200s"],
    ['alarm_rule.create', { name: 'busy', metric: 'cpu', when: 'below', threshold: 0, for_s: 600, mail_to: [] }, 'xenith alarm-rule create busy --metric cpu --below 0 --for 600s'],
    ['alarm_rule.create', { name: 'busy', metric: 'cpu', threshold: 90, mail_to: ['a@b.c'] }, `xenith rpc alarm_rule.create '{"name":"busy","metric":"cpu","threshold":90,"mail_to":["a@b.c"]}'`],
    ['alarm_rule.update', { rule: 'busy', enabled: false }, 'xenith alarm-rule update busy --enabled off'],
    ['alarm_rule.update', { rule: 'busy', filter: '' }, `xenith rpc alarm_rule.update '{"rule":"busy","filter":""}'`],
    ['backup_job.update', { job: 'nightly', enabled: false }, `xenith rpc backup_job.update '{"job":"nightly","enabled":false}'`],
    ['standby.create', { vm: 'web-1', host: 'xen2', repository: 'main', networks: {}, keep_macs: true }, 'xenith standby create web-1 --host xen2 --repository main --keep-macs'],
    ['standby.fail_over', { standby: 'web-1-standby', force: true }, 'xenith standby fail-over web-1-standby --force'],
    ['standby.fail_back', { standby: 'web-1', deadline_s: 300 }, 'xenith standby fail-back web-1 --deadline 300s'],
    ['backup.download', { backup: 'b', repository: 'r', at: '1:/etc/nginx' }, 'xenith backup download b 1:/etc/nginx nginx.zip --repository r'],
    ['backup.download', { backup: 'b', at: 'vg/root:/' }, 'xenith backup download b vg/root:/ files.zip'],
    ['backup.hold', { backup: 'b', repository: 'r', held: false }, 'xenith backup hold b off --repository r'],
    ['vm.update', { vm: 'web-1', memory: { target: 1, max: 2 } }, `xenith rpc vm.update '{"vm":"web-1","memory":{"target":1,"max":2}}'`],
  ])('%s', (method, params, line) => {
    expect(cliLine(method, params)).toBe(line);
  });

  it('knows only verbs, arguments and flags that the program has', () => {
    const help = readFileSync(join(__dirname, '../../../orchestrator/cli/tests/it/golden/help.txt'), 'utf8');
    const sections = new Map(help.split(/^== /m).map((text) => [text.slice(0, text.indexOf('\n')).trim(), text]));
    const wrong = Object.entries(SHAPES).flatMap(([method, { bare, flags = [], many = [] }]) => {
      const verb = `xenith ${method.replace('.', ' ').replaceAll('_', '-')}`;
      const text = sections.get(verb) ?? '';
      const line = /^Usage: (.*)$/m.exec(text)?.[1] ?? '';
      const takes = [...line.matchAll(/[<[]([A-Z][A-Z_0-9:]*)[>\]]/g)].map(([, name]) => name).filter((name) => name !== 'OPTIONS');
      const behind = bare.length > 0 ? takes.slice(-bare.length) : [];
      const missing = [...flags, ...many].filter((flag) => !text.includes(`--${flag.replaceAll('_', '-')}`));
      return behind.length === bare.length && missing.length === 0 ? [] : [`${verb}: ${line} ${missing.join()}`];
    });
    expect(wrong).toEqual([]);
  });

  it('is beside one call, or a batch of several', () => {
    const call = { method: 'vm.start' as const, params: { vm: 'a' } };
    expect(JSON.parse(rpcLines([call]))).toMatchObject({ id: 1, method: 'vm.start' });
    expect(JSON.parse(rpcLines([call, call])).map(({ id }: { id: number }) => id)).toEqual([1, 2]);
  });

  it('quotes what a shell would take apart', () => {
    expect(quote(`it's $HOME`)).toBe(`'it'\\''s $HOME'`);
  });
});
