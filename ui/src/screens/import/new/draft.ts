// What the wizard gathers, and the calls that it becomes: one import for each VM.

import type { CreateWave, NetworkMapping, PlanImports, PlannedWave, SourceVm, StartImport, WaveCaps } from '../../../api/generated';
import { words } from '../../../parts/fields';
import { count, flag, list, oneOf, record, text, type Kept } from '../../../parts/kept';

export type CutOver = 'by-hand' | 'now' | 'at' | 'downtime';

export interface ImportDraft {
  source: string;
  vms: SourceVm[];
  /** Ours for each of theirs; empty leaves those NICs out. */
  networks: Record<string, string>;
  pool: string;
  host: string;
  tags: string;
  cutOver: CutOver;
  /** As a field for date and time has it, in the browser's zone. */
  at: string;
  downtime: number;
  force: boolean;
  verify: boolean;
  start: boolean;
}

export const EMPTY_IMPORT: ImportDraft = {
  source: '',
  vms: [],
  networks: {},
  pool: '',
  host: '',
  tags: '',
  cutOver: 'by-hand',
  at: '',
  downtime: 60,
  force: false,
  verify: false,
  start: true,
};

/** What an address has of the choice, before it is known which VMs that are. */
export const CHOSEN: Kept<{ source: string; vms: string[] }> = { source: text, vms: list };

/** Where and when stand in the address too, and of the VMs their ids: those that `inventory` no longer has are not chosen. */
export const keptOf = (inventory: SourceVm[]): Kept<ImportDraft> => ({
  source: text,
  vms: {
    write: (vms) => list.write(vms.map(({ id }) => id)),
    read: (said) => {
      const ids = new Set(list.read(said));
      return inventory.filter(({ id, template }) => ids.has(id) && !template);
    },
  },
  pool: text,
  host: text,
  networks: record,
  tags: text,
  cutOver: oneOf('by-hand', 'now', 'at', 'downtime'),
  at: text,
  downtime: count,
  force: flag,
  verify: flag,
  start: flag,
});

export const networksOf = (vms: SourceVm[]): string[] => [...new Set(vms.flatMap(({ networks }) => networks))].sort();

function mapping(draft: ImportDraft, vm: SourceVm): NetworkMapping[] {
  return [...new Set(vm.networks)].map((from) => ({ from, ...(draft.networks[from] ? { to: draft.networks[from] } : {}) }));
}

function cutOver({ cutOver, at, downtime }: ImportDraft, now: Date): Partial<StartImport> {
  switch (cutOver) {
    case 'by-hand':
      return {};
    case 'now':
      return { cut_over_at: now.toISOString() };
    case 'at':
      return { cut_over_at: new Date(at).toISOString() };
    case 'downtime':
      return { downtime_s: downtime };
  }
}

export function importParams(draft: ImportDraft, vm: SourceVm, now = new Date()): StartImport {
  const networks = mapping(draft, vm);
  const tags = words(draft.tags);
  return {
    source: draft.source,
    vm: vm.id,
    ...(networks.length ? { networks } : {}),
    ...(draft.pool ? { pool: draft.pool } : {}),
    ...(draft.host ? { host: draft.host } : {}),
    ...(tags.length ? { tags } : {}),
    ...cutOver(draft, now),
    ...(draft.force ? { force: true } : {}),
    ...(draft.verify ? { verify: true } : {}),
    ...(draft.start ? { start: true } : {}),
  };
}

/** All of them as a wave: what each would be begun with, networks of all together. */
export function waveParams(draft: ImportDraft, name: string, caps: WaveCaps, now = new Date()): CreateWave {
  const all = { id: '', networks: networksOf(draft.vms) } as SourceVm;
  const { source, vm: _each, ...options } = importParams(draft, all, now);
  return { name, source, vms: draft.vms.map(({ id }) => id), caps, options };
}

/** What limits a plan in waves. */
export interface WaveLimits {
  /** Hours of a migration window. */
  window: number;
  /** VMs in a wave. */
  most: number;
  /** MiB per second of the line. */
  line: number;
}

/** As the API has them where nothing is said. */
export const USUAL_LIMITS: WaveLimits = { window: 8, most: 100, line: 800 };

export function wavePlanParams(draft: ImportDraft, { window, most, line }: WaveLimits): PlanImports {
  return { source: draft.source, vms: draft.vms.map(({ id }) => id), window_hours: window, max_vms: most, line_mib_s: line };
}

/** One wave of a plan, to be kept. A plan has names of VMs, which need not be unique at the source: ids are. */
export function plannedWave(draft: ImportDraft, prefix: string, wave: Pick<PlannedWave, 'number' | 'vms'>, now = new Date()): CreateWave {
  const chosen = wave.vms.flatMap((name) => draft.vms.filter((vm) => vm.name === name));
  return waveParams({ ...draft, vms: chosen }, `${prefix}-${wave.number}`, {}, now);
}

export const importReady = (draft: ImportDraft, now = Date.now()): boolean => draft.cutOver !== 'at' || (draft.at !== '' && new Date(draft.at).getTime() > now);

/** The fingerprint that a refused handshake tells of. */
export function fingerprintIn(message: string): string | undefined {
  return message.split(/\s+/).map((word) => word.replace(/[^0-9A-Fa-f:]/g, '')).find((word) => word.split(':').length === 32);
}
