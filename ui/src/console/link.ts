// A console's WebSocket: opened with a ticket that works once, opened again with a new one when it is lost.

import type { ConsoleTicket } from '../api/generated';

export type State = { at: 'opening' | 'open' } | { at: 'lost' | 'ended' | 'failed' | 'refused'; why: string };

/** Codes of the orchestrator (orchestrator/types/src/console.rs). */
const FAILED = 4000;
const NOT_ALLOWED = 4003;

export function endOf(code: number, reason: string): State {
  if (code === 1000) return { at: 'ended', why: reason };
  if (code === FAILED) return { at: 'failed', why: reason };
  if (code === NOT_ALLOWED) return { at: 'refused', why: reason };
  return { at: 'lost', why: reason };
}

export async function openConsole(ticket: () => Promise<ConsoleTicket>): Promise<WebSocket> {
  const { path } = await ticket();
  const socket = new WebSocket(`wss://${location.host}${path}`);
  socket.binaryType = 'arraybuffer';
  return socket;
}
