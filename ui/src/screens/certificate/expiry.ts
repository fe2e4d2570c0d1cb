// How much time a certificate has left, and when that is a reason to look at it.

const DAY = 86_400_000;

/** Whose it is decides when it is late: those that renew themselves do so at half of their life. */
export type Kind = 'host' | 'own' | 'files' | 'authority';

const LATE_DAYS: Record<Kind, number> = { host: 10, own: 120, files: 30, authority: 365 };

export type Expiry = 'fine' | 'late' | 'over';

export function expiry(kind: Kind, expires: string, now = Date.now()): Expiry {
  const left = new Date(expires).getTime() - now;
  if (left <= 0) return 'over';
  return left < LATE_DAYS[kind] * DAY ? 'late' : 'fine';
}
