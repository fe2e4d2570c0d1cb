// Signing in and out of the browser: over HTTP, because only there a cookie can be set.

import { ApiError, Unreachable, type WireError } from './errors';
import type { User } from './generated';

async function ask(method: string, body?: object): Promise<unknown> {
  let response: Response;
  try {
    response = await fetch('/session', {
      method,
      credentials: 'same-origin',
      headers: body ? { 'content-type': 'application/json' } : {},
      body: body ? JSON.stringify(body) : undefined,
    });
  } catch {
    throw new Unreachable();
  }
  if (response.ok) return response.status === 204 ? undefined : response.json();
  throw refused(await response.json().catch(() => null), response.status);
}

/** What an answer over HTTP says of why it is none. */
export function refused(answer: unknown, status: number): ApiError {
  const error = (answer as { error?: WireError } | null)?.error;
  return new ApiError(error ?? { code: 0, message: `HTTP ${status}` });
}

/** `code` is of the second factor: who has one is refused without it, in that field (see `wantsCode`). */
export async function signIn(name: string, password: string, code?: string): Promise<User> {
  const answer = (await ask('POST', { name, password, code })) as { user: User };
  return answer.user;
}

/** It is about the code of the second factor: it is missing, or wrong. */
export function wantsCode(error: unknown): boolean {
  return error instanceof ApiError && error.data.field === 'code';
}

export async function signOut(): Promise<void> {
  await ask('DELETE');
}
