// What takes a call back, and what nothing takes back.

import { describe, expect, it } from 'vitest';
import type { MethodName } from '../api/generated';
import { undoOf } from './undo';

describe('undo', () => {
  it.each<[MethodName, object, MethodName, object]>([
    ['vm.pause', { vm: 'a' }, 'vm.unpause', { vm: 'a' }],
    ['vm.resume', { vm: 'a' }, 'vm.suspend', { vm: 'a' }],
    ['host.set_maintenance', { host: 'h', maintenance: true }, 'host.set_maintenance', { host: 'h', maintenance: false }],
    ['backup.hold', { backup: 'b', repository: 'r', held: false }, 'backup.hold', { backup: 'b', repository: 'r', held: true }],
    ['backup_job.update', { job: 'j', enabled: false }, 'backup_job.update', { job: 'j', enabled: true }],
    ['network.set_encryption', { network: 'n', encryption: 'wireguard' }, 'network.set_encryption', { network: 'n', encryption: 'none' }],
    ['alarm.silence', { rule: 'busy' }, 'alarm.unsilence', { silence: 's' }],
  ])('of %s %o', (method, params, back, before) => {
    expect(undoOf(method, params, { id: 's' })).toEqual({ method: back, params: before });
  });

  it.each<[MethodName, object]>([
    ['vm.delete', { vm: 'a' }],
    ['vm.shutdown', { vm: 'a' }],
    ['host.evacuate', { host: 'h' }],
    // More than the switch: what was before is not known here.
    ['backup_job.update', { job: 'j', enabled: false, keep: {} }],
  ])('is not offered of %s %o', (method, params) => {
    expect(undoOf(method, params, {})).toBeUndefined();
  });
});
