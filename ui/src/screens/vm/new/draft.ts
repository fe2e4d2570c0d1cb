// What the wizard gathers, and the call that it becomes.

import type { CreateVm, NewDisk, Platform } from '../../../api/generated';
import { VM_NAME, words } from '../../../parts/fields';

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
  disks: [{ kind: 'new', gib: 10, vdi: '' }],
  nics: [],
  host: '',
  apart: [],
  together: [],
  autostart: false,
  start: true,
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
