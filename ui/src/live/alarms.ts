// What is wrong now and nobody silenced: for the top bar and the home page. Raised and cleared alarms are events, which
// make it be read again; silences that end by themselves are not.

import { useMemo } from 'react';
import { useRead } from '../api/client';
import type { Alarm, Severity } from '../api/generated';

const MOST = 100;
const RANK: Record<Severity, number> = { error: 0, warning: 1, info: 2 };

/** The worst first, and of those the newest. */
export const byWeight = (a: Alarm, b: Alarm): number => RANK[a.severity] - RANK[b.severity] || b.since.localeCompare(a.since);

export function useAlarms(): { alarms: Alarm[]; total: number } {
  const read = useRead('alarm.list', { filter: 'silenced:no', limit: MOST }, { every: 30_000 });
  return useMemo(() => ({ alarms: [...(read.data?.items ?? [])].sort(byWeight), total: read.data?.total ?? 0 }), [read.data]);
}
