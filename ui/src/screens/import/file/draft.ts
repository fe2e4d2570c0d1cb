// What the wizard gathers about a VM's file, and the call that it becomes.

import type { NewNic, UploadVm } from '../../../api/generated';
import type { Found, PackageFile } from '../../../api/package';
import { VM_NAME, words } from '../../../parts/fields';
import { count, flag, oneOf, record, text, type Kept } from '../../../parts/kept';

const MIB = 1024 ** 2;

export interface FileDraft {
  source?: PackageFile;
  found?: Found;
  name: string;
  vcpus: number;
  memory: number;
  firmware: 'bios' | 'uefi';
  /** Ours for each of theirs; empty leaves those NICs out. */
  networks: Record<string, string>;
  /** Of a file that describes no NIC: the network of one. */
  network: string;
  keepMacs: boolean;
  tags: string;
  pool: string;
  host: string;
  prepare: boolean;
  start: boolean;
}

export const EMPTY_FILE: FileDraft = {
  name: '',
  vcpus: 1,
  memory: 1024,
  firmware: 'bios',
  networks: {},
  network: '',
  keepMacs: true,
  tags: '',
  pool: '',
  host: '',
  prepare: true,
  start: true,
};

/** All but the file itself. */
export const KEPT_OF_FILE: Kept<FileDraft> = {
  name: text,
  vcpus: count,
  memory: count,
  firmware: oneOf('bios', 'uefi'),
  networks: record,
  network: text,
  keepMacs: flag,
  tags: text,
  pool: text,
  host: text,
  prepare: flag,
  start: flag,
};

/** `web 1 (old)` is no name of ours; `web-1-old` is. */
export function asName(theirs: string): string {
  return theirs.normalize('NFKD').replace(/\p{M}/gu, '').replace(/[^A-Za-z0-9._-]+/g, '-').replace(/^[^A-Za-z0-9]+|-+$/g, '').slice(0, 63);
}

/** What the file says of itself, as far as it does; its name stands in for one that it has not. */
export function described(found: Found, file: string): Partial<FileDraft> {
  return {
    found,
    name: asName(found.name || file.replace(/\.[A-Za-z0-9]{1,5}$/, '')),
    ...(found.vcpus ? { vcpus: found.vcpus } : {}),
    ...(found.memory_mib ? { memory: found.memory_mib } : {}),
    firmware: found.efi ? 'uefi' : 'bios',
    networks: {},
  };
}

export const networksIn = (found: Found): string[] => [...new Set(found.nics.map(({ network }) => network))].sort();

export const sizeOf = (found: Found): number => found.disks.reduce((sum, { capacity }) => sum + capacity, 0);

function nics(draft: FileDraft, found: Found): NewNic[] {
  if (found.nics.length === 0) return draft.network ? [{ network: draft.network }] : [];
  return found.nics.flatMap(({ network, mac }) => {
    const ours = draft.networks[network];
    return ours ? [{ network: ours, ...(mac && draft.keepMacs ? { mac } : {}) }] : [];
  });
}

export function uploadParams(draft: FileDraft, found: Found, file: string): UploadVm {
  const tags = words(draft.tags);
  return {
    vm: {
      name: draft.name,
      platform: { kind: 'hvm', firmware: draft.firmware },
      vcpus: { online: draft.vcpus, max: draft.vcpus },
      memory: { target: draft.memory, max: draft.memory },
      disks: found.disks.map(({ capacity }) => ({ size: Math.ceil(capacity / MIB) * MIB })),
      nics: nics(draft, found),
      graphics: 'vnc',
      description: `imported from ${file}`,
      ...(tags.length ? { tags } : {}),
      ...(draft.pool ? { pool: draft.pool } : {}),
      ...(draft.host ? { host: draft.host } : {}),
      ...(draft.start ? { start: true } : {}),
    },
    disks: found.disks.map(({ name, capacity }) => ({ name, capacity })),
    file,
    ...(draft.prepare ? {} : { no_prepare: true }),
  };
}

export const machineReady = (draft: FileDraft): boolean => VM_NAME.test(draft.name) && draft.vcpus >= 1 && draft.memory >= 1;
