// What is read again when something has happened.

import { describe, expect, it } from 'vitest';
import { toldBy } from './events';

describe('an event', () => {
  it.each<[string, string, string, string[]]>([
    ['about a VM is of VMs', 'vm.crashed', 'vm/v', ['vm']],
    ['about a host says how it is protected, and what networks it has', 'host.lost', 'host/h', ['host', 'ha', 'network']],
    ['of an alarm is of alarms, and of what it is about', 'alarm.raised', 'host/h', ['alarm', 'host', 'ha', 'network']],
    ['of a pool, about a host, is of both', 'pool.cpu_level_lacking', 'host/h', ['pool', 'host', 'ha', 'network']],
    ['of a standby', 'backup.standby', 'vm/v', ['backup', 'standby', 'vm']],
    ['of storage', 'sr.filling', 'sr/s', ['sr']],
    ['about nothing', 'host.joined', '', ['host', 'ha', 'network']],
  ])('%s', (_name, kind, subject, nouns) => {
    expect(new Set(toldBy({ kind, subject }))).toEqual(new Set(['event', 'system', ...nouns]));
  });
});
