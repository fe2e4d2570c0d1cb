// What takes a call back, where the API has that: another call that leaves things as they were, and not one that only
// does the opposite. A VM that was shut down is not undone by its start.

import type { MethodName, Methods } from '../api/generated';

type Call = { method: MethodName; params: Methods[MethodName]['params'] };
type Params = Record<string, unknown>;

const call = <M extends MethodName>(method: M, params: Methods[M]['params']): Call => ({ method, params });

/** The other way, with the same parameters. */
const OTHER: Partial<Record<MethodName, MethodName>> = {
  'vm.pause': 'vm.unpause',
  'vm.unpause': 'vm.pause',
  'vm.suspend': 'vm.resume',
  'vm.resume': 'vm.suspend',
  'pool.pause_update': 'pool.resume_update',
  'pool.resume_update': 'pool.pause_update',
};

/** Calls that switch one thing on or off, and its name. */
const SWITCH: Partial<Record<MethodName, string>> = { 'host.set_maintenance': 'maintenance', 'backup.hold': 'held' };

/** Nothing where it cannot be taken back, or where that would need to know what was before. */
export function undoOf(method: MethodName, params: object, result: unknown): Call | undefined {
  const given = params as Params;
  const other = OTHER[method];
  if (other) return call(other, given as never);
  const field = SWITCH[method];
  if (field) return call(method, { ...given, [field]: !given[field] } as never);
  switch (method) {
    case 'backup_job.update':
    case 'alarm_rule.update':
      // Only where it is nothing but the switch.
      return typeof given.enabled === 'boolean' && Object.keys(given).length === 2 ? call(method, { ...given, enabled: !given.enabled } as never) : undefined;
    case 'network.set_encryption':
      return call(method, { ...given, encryption: given.encryption === 'none' ? 'wireguard' : 'none' } as never);
    case 'alarm.silence':
      return call('alarm.unsilence', { silence: (result as { id: string }).id });
    default:
      return undefined;
  }
}
