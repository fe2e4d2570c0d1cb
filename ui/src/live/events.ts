// Events as they happen: what they are about is read again, and the newest are kept for the home page.

import { refresh, useFollow } from '../api/client';
import type { Event } from '../api/generated';
import { Again } from './again';

/** What follows from how a host is: whether it is protected, and whether networks are on it. */
const OF_HOSTS = ['ha', 'network'];

/** Which nouns to read again: what the event is about, and what it is an event of. */
export function toldBy({ kind, subject }: Pick<Event, 'kind' | 'subject'>): string[] {
  const nouns = [subject.split('/')[0] || 'host', kind.split('.')[0] ?? ''];
  const beside = [...(nouns.includes('host') ? OF_HOSTS : []), ...(kind === 'backup.standby' ? ['standby'] : [])];
  return [...new Set(['event', 'system', ...nouns, ...beside])].filter(Boolean);
}

const again = new Again();

export function useEventFeed() {
  useFollow('event.subscribe', {}, (event) => again.ask(...toldBy(event)), { started: () => refresh('event', 'host', 'system', 'alarm', ...OF_HOSTS) });
}
