// What a VM has of the host's processors and devices, and what an administrator keeps with it, as forms have them.
// `vm.update` replaces the whole of each.

import type { NewHardware, Protection, UpdateVm, Vm, VmSpec } from '../../api/generated';

export interface HardwareDraft {
  /** Empty: Xen's own, 256. */
  weight: string;
  /** Per cent of one CPU; empty: no limit. */
  cap: string;
  /** Empty: all. */
  pin: string;
  pci: string[];
  cd: boolean;
  guestAgent: boolean;
}

export function hardwareDraft({ hardware }: VmSpec): HardwareDraft {
  const { weight, cap, pin } = hardware?.cpu ?? {};
  return { weight: String(weight ?? ''), cap: String(cap ?? ''), pin: pin ?? '', pci: hardware?.pci ?? [], cd: !!hardware?.cd, guestAgent: !!hardware?.guest_agent };
}

const whole = (text: string, least: number, most: number) => text === '' || (/^\d+$/.test(text) && Number(text) >= least && Number(text) <= most);

export const weightFits = (text: string) => whole(text, 1, 65535);
export const capFits = (text: string) => whole(text, 1, 65535);
/** As Xen writes them: `0-3,8`. */
export const pinFits = (text: string) => text === '' || /^\d+(-\d+)?(,\d+(-\d+)?)*$/.test(text);

export function newHardware({ hardware }: VmSpec, draft: HardwareDraft): NewHardware {
  const cpu = {
    ...(draft.weight ? { weight: Number(draft.weight) } : {}),
    ...(draft.cap ? { cap: Number(draft.cap) } : {}),
    ...(draft.pin ? { pin: draft.pin } : {}),
  };
  const medium = hardware?.cd?.vdi;
  return {
    ...(Object.keys(cpu).length ? { cpu } : {}),
    ...(draft.pci.length ? { pci: draft.pci } : {}),
    ...(draft.cd ? { cd: medium ? { iso: medium } : {} } : {}),
    ...(hardware?.video ? { video: hardware.video } : {}),
    ...(draft.guestAgent ? { guest_agent: true } : {}),
  };
}

/** A field a line: `owner=ann`. */
export const customText = (custom: Record<string, string> = {}) =>
  Object.entries(custom)
    .map(([name, value]) => `${name}=${value}`)
    .join('\n');

/** The fields, or nothing where a line has no name or a name is there twice. */
export function customOf(text: string): Record<string, string> | undefined {
  const custom: Record<string, string> = {};
  for (const line of text.split('\n').filter((line) => line.trim())) {
    const at = line.indexOf('=');
    const name = line.slice(0, at).trim();
    if (at < 1 || !name || name in custom) return undefined;
    custom[name] = line.slice(at + 1).trim();
  }
  return custom;
}

export function kept(vm: Vm, protection: Protection, text: string): UpdateVm {
  return { vm: vm.id, protection, custom: customOf(text) ?? {} };
}
