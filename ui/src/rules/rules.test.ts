// What buttons promise, and what is copied from them.

import { describe, expect, it } from 'vitest';
import type { Binding, MethodName, Power, User } from '../api/generated';
import { cliLine, quote } from './cli';
import { mayNot } from './may';
import { VM_VERBS, vmCannot, type VmVerb } from './vm';

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
    ['nor hosts', pooled, 'host.add', undefined, false],
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
    suspended: ['vm.resume', 'vm.delete'],
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

  it('leaves foreign domains alone', () => {
    const can = VM_VERBS.filter(({ method }) => !vmCannot(everywhere('admin'), method, { power: 'running', managed: false }));
    expect(can).toEqual([]);
  });
});

describe('the command line', () => {
  it.each<[MethodName, object, string]>([
    ['vm.start', { vm: 'web-1' }, 'xenith vm start web-1'],
    ['vm.power_off', { vm: 'web 1' }, "xenith vm power-off 'web 1'"],
    ['vm.delete', { vm: 'web-1', keep_disks: true }, 'xenith vm delete web-1 --keep-disks'],
    ['vm.detach_disk', { device: 'xvdb', vm: 'web-1' }, 'xenith vm detach-disk web-1 xvdb'],
    ['host.set_maintenance', { host: 'xen1', maintenance: true }, 'xenith host set-maintenance xen1 on'],
    ['network.create', { name: 'lan', bridge: 'xenbr0', pool: 'p', description: '' }, 'xenith network create lan --bridge xenbr0 --pool p'],
    ['vm.update', { vm: 'web-1', memory: { target: 1, max: 2 } }, `xenith rpc vm.update '{"vm":"web-1","memory":{"target":1,"max":2}}'`],
  ])('%s', (method, params, line) => {
    expect(cliLine(method, params)).toBe(line);
  });

  it('quotes what a shell would take apart', () => {
    expect(quote(`it's $HOME`)).toBe(`'it'\\''s $HOME'`);
  });
});
