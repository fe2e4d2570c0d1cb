// Which stretch of time is looked at: so long, until now or until a time in the past.

import { msg } from '../../i18n/msg';

const HOUR = 3600;
const DAY = 24 * HOUR;

export interface Range {
  key: string;
  /** Marked with `msg`. */
  label: string;
  seconds: number;
  /** Milliseconds after which there may be something new to see. */
  every: number;
}

export const RANGES: Range[] = [
  { key: 'hour', label: msg('Hour'), seconds: HOUR, every: 5_000 },
  { key: 'day', label: msg('Day'), seconds: DAY, every: 30_000 },
  { key: 'week', label: msg('Week'), seconds: 7 * DAY, every: 300_000 },
  { key: 'month', label: msg('Month'), seconds: 30 * DAY, every: 300_000 },
  { key: 'year', label: msg('Year'), seconds: 365 * DAY, every: 300_000 },
];

const FIRST = RANGES[0] as Range;

export const rangeOf = (key: string | null): Range => RANGES.find((range) => range.key === key) ?? FIRST;

/** Seconds since 1970 of a time as it stands in the address; nothing where it is none. */
export function untilOf(text: string | null): number | undefined {
  const seconds = text ? Math.floor(Date.parse(text) / 1000) : Number.NaN;
  return Number.isFinite(seconds) ? seconds : undefined;
}

/** As it stands in the address. */
export const stampOf = (seconds: number): string => new Date(seconds * 1000).toISOString();

/** The end of the stretch before, or behind; nothing where that would be in the future. */
export function moved(range: Range, until: number | undefined, now: number, by: -1 | 1): number | undefined {
  const end = (until ?? now) + by * range.seconds;
  return end >= now ? undefined : end;
}
