// What the wizard gathers, and the call that it becomes.

import type { CreateVm, NewDisk, Platform } from '../../../api/generated';
import { VM_NAME, words } from '../../../parts/fields';
import { count, flag, list, oneOf, text, type Codec, type Kept } from '../../../parts/kept';

export interface DraftDisk {
  kind: 'new' | 'there';
  gib: number;
  vdi: string;
}

export interface Draft {
  name: string;
  description: string;
  tags: string;
  pool: string;
  kind: 'pvh' | 'pv' | 'hvm';
  kernel: string;
  ramdisk: string;
  cmdline: string;
  firmware: 'bios' | 'uefi';
  bootFrom: 'disk' | 'cdrom' | 'network';
  /** In the CD drive of an HVM guest. */
  iso: string;
  vcpus: number;
  memory: number;
  maxMemory: number;
  graphics: 'none' | 'vnc';
  disks: DraftDisk[];
  nics: string[];
  host: string;
  apart: string[];
  together: string[];
  autostart: boolean;
  start: boolean;
}

export const NEW_DISK: DraftDisk = { kind: 'new', gib: 10, vdi: '' };

export const EMPTY: Draft = {
  name: '',
  description: '',
  tags: '',
  pool: '',
  kind: 'pvh',
  kernel: '',
  ramdisk: '',
  cmdline: 'console=hvc0',
  firmware: 'uefi',
  bootFrom: 'disk',
  iso: '',
  vcpus: 1,
  memory: 1024,
  maxMemory: 1024,
  graphics: 'none',
  disks: [NEW_DISK],
  nics: [],
  host: '',
  apart: [],
  together: [],
  autostart: false,
  start: true,
};

/** `new:10` (GiB) or `there:` and its id. */
const disks: Codec<DraftDisk[]> = {
  write: (all) => list.write(all.map(({ kind, gib, vdi }) => `${kind}:${kind === 'new' ? gib : vdi}`)),
  read: (said) => {
    const all = list.read(said)?.map((one) => /^(?:new:(\d{1,6})|there:(.*))$/.exec(one));
    return all?.every((one) => one !== null) ? all.map(([, gib, vdi]) => (gib ? { kind: 'new', gib: Number(gib), vdi: '' } : { kind: 'there', gib: NEW_DISK.gib, vdi: vdi ?? '' })) : undefined;
  },
};

/** All of it can stand in the address. */
export const KEPT: Kept<Draft> = {
  name: text,
  kind: oneOf('pvh', 'pv', 'hvm'),
  kernel: text,
  ramdisk: text,
  cmdline: text,
  firmware: oneOf('bios', 'uefi'),
  bootFrom: oneOf('disk', 'cdrom', 'network'),
  iso: text,
  pool: text,
  vcpus: count,
  memory: count,
  maxMemory: count,
  graphics: oneOf('none', 'vnc'),
  disks,
  nics: list,
  host: text,
  apart: list,
  together: list,
  autostart: flag,
  start: flag,
  tags: text,
  description: text,
};

function platform(draft: Draft): Platform {
  if (draft.kind === 'hvm') {
    const rest = (['disk', 'cdrom', 'network'] as const).filter((one) => one !== draft.bootFrom);
    return { kind: 'hvm', firmware: draft.firmware, boot_order: [draft.bootFrom, ...rest.slice(0, 1)] };
  }
  const boot = {
    kernel: draft.kernel,
    ...(draft.ramdisk ? { ramdisk: draft.ramdisk } : {}),
    ...(draft.cmdline ? { cmdline: draft.cmdline } : {}),
  };
  return { kind: draft.kind, boot };
}

function disk({ kind, gib, vdi }: DraftDisk): NewDisk {
  return kind === 'new' ? { size: gib * 1024 ** 3 } : { vdi };
}

export function params(draft: Draft): CreateVm {
  const tags = words(draft.tags);
  return {
    name: draft.name,
    platform: platform(draft),
    vcpus: { online: draft.vcpus, max: draft.vcpus },
    memory: { target: draft.memory, max: Math.max(draft.memory, draft.maxMemory) },
    ...(draft.disks.length ? { disks: draft.disks.map(disk) } : {}),
    ...(draft.nics.length ? { nics: draft.nics.map((network) => ({ network })) } : {}),
    ...(draft.kind === 'hvm' && draft.iso ? { hardware: { cd: { iso: draft.iso } } } : {}),
    ...(draft.graphics === 'vnc' ? { graphics: 'vnc' as const } : {}),
    ...(draft.autostart ? { autostart: { order: 100 } } : {}),
    ...(draft.description ? { description: draft.description } : {}),
    ...(tags.length ? { tags } : {}),
    ...(draft.pool ? { pool: draft.pool } : {}),
    ...(draft.host ? { host: draft.host } : {}),
    ...(draft.apart.length ? { apart_from: draft.apart } : {}),
    ...(draft.together.length ? { together_with: draft.together } : {}),
    ...(draft.start ? { start: true } : {}),
  };
}

/** Which steps are filled in. */
export const ready = {
  basics: (draft: Draft) => VM_NAME.test(draft.name) && (draft.kind === 'hvm' || draft.kernel !== ''),
  hardware: (draft: Draft) =>
    draft.vcpus >= 1 && draft.memory >= 1 && draft.disks.every((disk) => (disk.kind === 'new' ? disk.gib >= 1 : disk.vdi !== '')),
};
