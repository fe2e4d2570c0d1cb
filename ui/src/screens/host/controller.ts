// What a form about power control holds, as the API takes it.

import type { PowerControl } from '../../api/generated';

/** 64 hexadecimal digits without colons, as it is kept; nothing for anything else. What openssl writes in front may stay. */
export function fingerprintOf(text: string): string | undefined {
  const digits = text.trim().replace(/^.*=/, '').replaceAll(':', '').toLowerCase();
  return /^[0-9a-f]{64}$/.test(digits) ? digits : undefined;
}

/** Whether the password that is known counts here: it is sent to nobody else than it was given for. */
export function sameControl(known: PowerControl | undefined, now: PowerControl): boolean {
  return !!known && known.kind === now.kind && known.address === now.address && known.user === now.user && (known.fingerprint ?? undefined) === (now.fingerprint ?? undefined);
}
