// What calls have changed, whoever made them: lists that have no subscription of their own are read again.

import { useRef } from 'react';
import { useFollow } from '../api/client';
import { METHODS, type NounChange } from '../api/generated';
import { Again } from './again';

/** They have subscriptions that tell what has changed. */
const TOLD = ['vm', 'host', 'vdi', 'task', 'event'];
/** What their rows do not tell, and is shown. */
const NOT_IN_ROWS: Record<string, string[]> = { vm: ['vm.nics'], host: ['host.power_control'] };
/** What is shown of one noun follows from another. */
const BESIDE: Record<string, string[]> = { alarm_rule: ['alarm'], backup_job: ['backup_run'], repository: ['backup'], wave: ['import'], import: ['wave'], backup: ['backup_run'], network: ['vm'], security_group: ['vm'] };

const ALL = [...new Set(Object.keys(METHODS).map((method) => method.split('.')[0] as string))].filter((noun) => !TOLD.includes(noun));

/** Which nouns to read again. */
export function concerned(noun: string | null | undefined): string[] {
  if (noun == null) return ALL;
  return TOLD.includes(noun) ? [] : [noun, ...(BESIDE[noun] ?? [])];
}

/** The same, when a call has changed something of the noun. */
export function heardOf(noun: string | null | undefined): string[] {
  const beside = noun == null ? Object.values(NOT_IN_ROWS).flat() : (NOT_IN_ROWS[noun] ?? []);
  return [...concerned(noun), ...beside];
}

const again = new Again();

/** Used once, by the shell. */
export function useChangeFeed() {
  const before = useRef(false);
  const changed = ({ noun }: NounChange) => {
    const nouns = heardOf(noun);
    if (nouns.length) again.ask(...nouns);
  };
  // Behind a connection that was lost anything may have changed; at first everything has just been read.
  const started = () => {
    if (before.current) again.ask(...heardOf(undefined));
    before.current = true;
  };
  useFollow('change.subscribe', {}, changed, { started });
}
