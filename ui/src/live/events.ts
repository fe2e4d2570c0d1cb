// Events as they happen: what they are about is read again, and the newest are kept for the home page.

import { refresh, useFollow } from '../api/client';
import type { Event } from '../api/generated';
import { Again } from './again';

const again = new Again();

export function useEventFeed() {
  const changed = (event: Event) => {
    const [noun] = event.subject.split('/');
    again.ask('event', 'system', noun ?? 'host');
    if (event.kind.startsWith('alarm.')) again.ask('alarm');
    if (event.kind === 'backup.standby') again.ask('standby');
  };
  useFollow('event.subscribe', {}, changed, { started: () => refresh('event', 'host', 'system', 'alarm') });
}
