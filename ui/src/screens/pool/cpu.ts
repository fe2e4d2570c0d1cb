// Features of processors as the API writes them: who made them, and Xen's eight words (hypervisor-agent/types/src/cpu.rs).

import type { CpuFeatures, CpuLevelMode } from '../../api/generated';

/** The twelve characters that CPUID gives for the maker, and eight words in hexadecimal. */
export const FEATURES = /^[!-9;-~]{12}(:[0-9a-fA-F]{8}){8}$/;

export const makerOf = (features: CpuFeatures): string => features.split(':')[0] ?? '';

export function sameLevel(a: CpuLevelMode, b: CpuLevelMode): boolean {
  if (a.kind === 'set' && b.kind === 'set') return a.features === b.features;
  return a.kind === b.kind;
}
