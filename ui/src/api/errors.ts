// The one error of the API, and what a person does about it.

import { msg } from '../i18n/msg';

export interface ErrorData {
  reason?: string;
  field?: string;
  candidates?: string[];
  retry_after_s?: number;
  detail?: string[];
}

export interface WireError {
  code: number;
  message: string;
  data?: ErrorData;
}

export class ApiError extends Error {
  readonly code: number;
  readonly data: ErrorData;

  constructor(wire: WireError) {
    super(wire.message);
    this.name = 'ApiError';
    this.code = wire.code;
    this.data = wire.data ?? {};
  }

  get reason(): string {
    return this.data.reason ?? 'protocol';
  }
}

/** The connection broke and did not come back in time. */
export class Unreachable extends ApiError {
  constructor() {
    super({ code: 0, message: msg('The orchestrator does not answer.'), data: { reason: 'unreachable' } });
  }
}

// As docs/errors.md has it, in the UI's words.
const NEXT: Record<string, string> = {
  unauthenticated: msg('Sign in again.'),
  forbidden: msg('Ask an administrator for a role that allows it; your roles are on the page “My account”.'),
  'not-found': msg('It may have been deleted meanwhile. Go back to the list.'),
  ambiguous: msg('Several have this name: choose one by its id.'),
  invalid: msg('Correct what is named and try again.'),
  conflict: msg('Choose another name or address, or reload and try again.'),
  'wrong-state': msg('Wait for its running task, or do what the message says.'),
  'no-placement': msg('Free memory on a host, end its maintenance, or ask for less.'),
  'host-unreachable': msg('Look at the host and its agent: xenith-agent doctor on the host tells what is missing.'),
  'host-failed': msg('The message has the host’s own words; its log is in /var/log/xen.'),
  throttled: msg('Wait a moment, then try again.'),
  'read-only': msg('Free space on the orchestrator’s disk; it recovers by itself.'),
  internal: msg('This is a bug. The orchestrator’s log has more.'),
  unreachable: msg('Check that the orchestrator runs and that the network reaches it. The page connects again by itself.'),
  protocol: msg('Browser and orchestrator may differ in version: reload the page.'),
};

export function nextStep(error: unknown): string {
  return NEXT[error instanceof ApiError ? error.reason : 'protocol'] ?? (NEXT.protocol as string);
}

/** Without `t`, and of what the orchestrator said, in English; our own words are in the language of the page. */
export function messageOf(error: unknown, t: (text: string) => string = (text) => text): string {
  if (error instanceof Unreachable) return t(error.message);
  return error instanceof Error ? error.message : String(error);
}
