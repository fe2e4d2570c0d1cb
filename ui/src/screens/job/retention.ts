// Which backups rules keep, and why: backup/src/retention.rs, mirrored for the preview. The repository decides.

import { msg } from '../../i18n/msg';
import type { KeepPolicy } from '../../api/generated';

export interface Reason {
  /** Marked with `msg`. */
  rule: string;
  /** Which of them, from 1. */
  number?: number;
}

export interface Kept {
  created: string;
  /** None: it goes. */
  because: Reason[];
}

export const RULES: [keyof KeepPolicy, string][] = [
  ['last', msg('last')],
  ['hourly', msg('hourly')],
  ['daily', msg('daily')],
  ['weekly', msg('weekly')],
  ['monthly', msg('monthly')],
  ['yearly', msg('yearly')],
];

export const keepsAll = (policy: KeepPolicy): boolean => RULES.every(([rule]) => !policy[rule]);

/** Year and week of ISO 8601: the week belongs to the year that its Thursday is in. */
function isoWeek(at: Date): string {
  const thursday = new Date(Date.UTC(at.getUTCFullYear(), at.getUTCMonth(), at.getUTCDate()));
  thursday.setUTCDate(thursday.getUTCDate() + 4 - (thursday.getUTCDay() || 7));
  const first = Date.UTC(thursday.getUTCFullYear(), 0, 1);
  return `${thursday.getUTCFullYear()}W${Math.ceil(((thursday.getTime() - first) / 86_400_000 + 1) / 7)}`;
}

// In UTC, as the repository counts.
const PERIOD: Record<string, (at: Date) => string> = {
  hourly: (at) => at.toISOString().slice(0, 13),
  daily: (at) => at.toISOString().slice(0, 10),
  weekly: isoWeek,
  monthly: (at) => at.toISOString().slice(0, 7),
  yearly: (at) => at.toISOString().slice(0, 4),
};

/** Of the backups of one VM in one repository; the answer is newest first. */
export function decide(backups: { created: string; held?: boolean }[], policy: KeepPolicy): Kept[] {
  const rows = [...backups].sort((a, b) => b.created.localeCompare(a.created));
  const kept = rows.map(({ created }): Kept => ({ created, because: [] }));
  const keep = (at: number, rule: string, number?: number) => kept[at]?.because.push({ rule, ...(number ? { number } : {}) });
  if (rows.length > 0) keep(0, msg('the newest'));
  rows.forEach(({ held }, at) => {
    if (keepsAll(policy)) keep(at, msg('no rule'));
    if (held) keep(at, msg('held'));
  });
  for (let at = 0; at < Math.min(policy.last ?? 0, rows.length); at++) keep(at, 'last', at + 1);
  for (const [rule] of RULES.slice(1)) {
    let seen = 0;
    let last = '';
    rows.forEach(({ created }, at) => {
      const here = PERIOD[rule]?.(new Date(created)) ?? '';
      if (seen >= (policy[rule] ?? 0) || here === last) return;
      seen += 1;
      last = here;
      keep(at, rule, seen);
    });
  }
  return kept;
}

/** How many are there in the long run, with a backup every so many hours for the given days. */
export function inTheLongRun(policy: KeepPolicy, hours: number, days: number, now = new Date()): Kept[] {
  const backups = Array.from({ length: Math.floor((days * 24) / hours) }, (_, at) => ({ created: new Date(now.getTime() - at * hours * 3_600_000).toISOString() }));
  return decide(backups, policy).filter(({ because }) => because.length > 0);
}
