// What can be done with a VM now: hypervisor-agent/src/vm/state.rs (`decide`) and orchestrator/src/app/vm.rs, mirrored.

import { msg } from '../i18n/msg';
import type { MethodName, Power, Protection, User, VmRow } from '../api/generated';
import { mayNot, type Place } from './may';

export type VmVerb =
  | 'vm.start'
  | 'vm.shutdown'
  | 'vm.reboot'
  | 'vm.power_off'
  | 'vm.pause'
  | 'vm.unpause'
  | 'vm.suspend'
  | 'vm.resume'
  | 'vm.delete';

export interface VerbInfo {
  method: VmVerb;
  label: string;
  /** Ends or loses something: asks first. */
  danger?: boolean;
}

export const VM_VERBS: VerbInfo[] = [
  { method: 'vm.start', label: msg('Start') },
  { method: 'vm.shutdown', label: msg('Shut down') },
  { method: 'vm.reboot', label: msg('Reboot') },
  { method: 'vm.pause', label: msg('Pause') },
  { method: 'vm.unpause', label: msg('Unpause') },
  { method: 'vm.suspend', label: msg('Suspend') },
  { method: 'vm.resume', label: msg('Resume') },
  { method: 'vm.power_off', label: msg('Power off'), danger: true },
  { method: 'vm.delete', label: msg('Delete'), danger: true },
];

const BUSY: Power[] = ['starting', 'stopping', 'suspending', 'resuming'];
const HAS_DOMAIN: Power[] = ['running', 'paused', 'starting', 'stopping', 'suspending', 'resuming'];

function powerForbids(method: VmVerb, power: Power): string | undefined {
  if (power === 'unknown') return msg('Its host is not heard: nothing is known about this VM now.');
  if (method === 'vm.delete') {
    if (power === 'suspended') return msg('It is suspended: resume it, or discard its saved memory first.');
    return HAS_DOMAIN.includes(power) ? msg('Shut it down or power it off first.') : undefined;
  }
  if (method === 'vm.power_off') {
    return power === 'stopped' ? msg('It does not run.') : undefined;
  }
  if (BUSY.includes(power)) return msg('It is changing its state; wait until that is done.');
  switch (method) {
    case 'vm.start':
      if (power === 'suspended') return msg('It is suspended: resume it, or discard its saved memory first.');
      return ['running', 'paused'].includes(power) ? msg('It runs already.') : undefined;
    case 'vm.resume':
      return power === 'suspended' ? undefined : msg('It is not suspended.');
    case 'vm.unpause':
      return power === 'paused' ? undefined : msg('It is not paused.');
    default:
      return power === 'running' ? undefined : msg('It does not run.');
  }
}

function protectionForbids(method: VmVerb, protection?: Protection): string | undefined {
  if (method === 'vm.delete' && protection?.delete) return msg('It is protected from deleting: take that off first.');
  if ((method === 'vm.start' || method === 'vm.resume') && protection?.start) return msg('It is protected from starting: take that off first.');
  return undefined;
}

const STANDS_BY = msg('It stands by for another VM: fail over to it, or release it first.');
/** One that stands by may still run: its host was away when another took over. */
const ALSO_STANDBY: MethodName[] = ['vm.shutdown', 'vm.power_off'];

const standbyForbids = (method: MethodName, standbyOf?: string | null) => (standbyOf && !ALSO_STANDBY.includes(method) ? STANDS_BY : undefined);

/** Why `method` cannot be done with this VM by this user; nothing when it can. */
export function vmCannot(
  user: User,
  method: VmVerb,
  vm: { power: Power; managed: boolean; protection?: Protection; standby_of?: string | null },
  place?: Place,
): string | undefined {
  if (!vm.managed) return msg('Xenith did not make this domain: it is only shown.');
  return mayNot(user, method, place) ?? standbyForbids(method, vm.standby_of) ?? powerForbids(method, vm.power) ?? protectionForbids(method, vm.protection);
}

/** Changes of the definition. */
export function vmCannotChange(user: User, method: MethodName, vm: { managed: boolean; standby_of?: string | null }, place?: Place) {
  if (!vm.managed) return msg('Xenith did not make this domain: it is only shown.');
  return mayNot(user, method, place) ?? standbyForbids(method, vm.standby_of);
}

/** Of one that is suspended, a power-off ends nothing and loses what was saved. */
export const discards = (method: VmVerb, power: Power) => method === 'vm.power_off' && power === 'suspended';

/** What the verb is called for this VM. One that loses saved memory has a name of its own, also where many are chosen. */
export const verbLabel = ({ method, label }: VerbInfo, power: Power) => (discards(method, power) ? msg('Discard the saved memory') : label);

/** Params of a verb for one VM, named by its id so that a renamed one is still meant. */
export function verbParams(method: VmVerb, vm: Pick<VmRow, 'id' | 'power'>) {
  return { vm: vm.id, ...(discards(method, vm.power) ? { discard_memory: true } : {}) } as { vm: string };
}

/** To another host: a running guest helps to move itself, one that is off has nothing to carry. */
export function vmCannotMove(
  user: User,
  vm: { power: Power; managed: boolean; protection?: Protection; standby_of?: string | null },
  place?: Place,
): string | undefined {
  const why = vmCannotChange(user, 'vm.migrate', vm, place);
  if (why) return why;
  if (vm.protection?.migration) return msg('It is protected from moving: take that off first.');
  if (vm.power === 'unknown') return msg('Its host is not heard: nothing is known about this VM now.');
  if (BUSY.includes(vm.power)) return msg('It is changing its state; wait until that is done.');
  if (vm.power === 'paused') return msg('It is paused: its guest has to run to move.');
  if (vm.power === 'suspended') return msg('It is suspended: resume it.');
  return undefined;
}
