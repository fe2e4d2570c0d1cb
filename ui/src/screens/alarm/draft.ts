// What the form of a rule gathers, and the call that it becomes. What is refused here is what the orchestrator refuses
// (orchestrator/src/app/alarm.rs), said beside the field.

import type { AlarmRule, AlarmWhen, CreateAlarmRule, Measured, Metric, Severity, Unit, UpdateAlarmRule } from '../../api/generated';
import { msg } from '../../i18n/msg';
import { words } from '../../parts/fields';

export interface RuleDraft {
  name: string;
  of: Measured;
  filter: string;
  metric: Metric;
  when: AlarmWhen;
  /** As it is typed, in the unit of `shownUnit`. */
  threshold: string;
  /** Empty: the threshold. */
  clear: string;
  minutes: number;
  severity: Severity;
  /** Addresses as they are typed. */
  mail: string;
  webhook: string;
  syslog: string;
}

export const EMPTY_RULE: RuleDraft = { name: '', of: 'vm', filter: '', metric: 'cpu', when: 'above', threshold: '90', clear: '', minutes: 10, severity: 'warning', mail: '', webhook: '', syslog: '' };

const MIB = 1024 ** 2;
const LONGEST_NAME = 64;
const MOST_ADDRESSES = 20;
export const LONGEST_MINUTES = 24 * 60;

/** Bytes are typed in MiB. */
export const shownUnit = (unit: Unit): string => (unit === 'B' ? 'MiB' : unit === 'B/s' ? 'MiB/s' : unit);

const scale = (unit: Unit): number => (unit === 'B' || unit === 'B/s' ? MIB : 1);

/** A number as people type it; nothing where it is none. */
export function parseValue(text: string, unit: Unit): number | undefined {
  const value = Number(text.trim().replace(',', '.'));
  return text.trim() !== '' && Number.isFinite(value) && value >= 0 ? value * scale(unit) : undefined;
}

export const showValue = (value: number, unit: Unit): string => String(value / scale(unit));

export function fromRule(rule: AlarmRule, unit: Unit): RuleDraft {
  const { name, of, filter, metric, when, severity, webhook, syslog } = rule;
  return {
    ...{ name, of, filter, metric, when, severity, webhook, syslog },
    threshold: showValue(rule.threshold, unit),
    clear: rule.clear === rule.threshold ? '' : showValue(rule.clear, unit),
    minutes: rule.for_s / 60,
    mail: rule.mail_to.join(', '),
  };
}

export type Problems = Partial<Record<'name' | 'threshold' | 'clear' | 'mail' | 'webhook' | 'syslog', string>>;

/** What will not do, marked with `msg`. */
export function problems(draft: RuleDraft, unit: Unit): Problems {
  const [threshold, clear] = [parseValue(draft.threshold, unit), parseValue(draft.clear, unit)];
  const bad = (clear: number) => threshold !== undefined && (draft.when === 'above' ? clear > threshold : clear < threshold);
  const mail = words(draft.mail);
  const found: Problems = {
    name: draft.name.length > LONGEST_NAME ? msg('64 characters at most.') : undefined,
    threshold: threshold === undefined ? msg('A number that is not negative.') : undefined,
    clear: draft.clear.trim() === '' ? undefined : clear === undefined ? msg('A number that is not negative.') : bad(clear) ? msg('The threshold, or on the good side of it.') : undefined,
    mail: mail.length > MOST_ADDRESSES ? msg('20 at most: make a list on your mail server.') : mail.every((address) => /^[^@\s]+@[^@\s]+$/.test(address)) ? undefined : msg('Addresses such as ops@example.org.'),
    webhook: draft.webhook === '' || /^https?:\/\/./.test(draft.webhook) ? undefined : msg('A URL that begins with https:// or http://.'),
    syslog: draft.syslog === '' || /^udp:\/\/.+:\d{1,5}$/.test(draft.syslog) ? undefined : msg('An address such as udp://log.example.org:514.'),
  };
  return Object.fromEntries(Object.entries(found).filter(([, why]) => why));
}

export const ruleReady = (draft: RuleDraft, unit: Unit): boolean => draft.name.trim() !== '' && Object.keys(problems(draft, unit)).length === 0;

function settings(draft: RuleDraft, unit: Unit) {
  const threshold = parseValue(draft.threshold, unit) ?? 0;
  return {
    filter: draft.filter,
    threshold,
    clear: parseValue(draft.clear, unit) ?? threshold,
    for_s: Math.round(draft.minutes * 60),
    severity: draft.severity,
    mail_to: words(draft.mail),
    webhook: draft.webhook,
    syslog: draft.syslog,
  };
}

export function createRule(draft: RuleDraft, unit: Unit): CreateAlarmRule {
  const { name, of, metric, when } = draft;
  const { clear, ...rest } = settings(draft, unit);
  return { name: name.trim(), of, metric, when, ...rest, ...(clear === rest.threshold ? {} : { clear }) };
}

/** Only what differs. */
export function updateRule(rule: AlarmRule, draft: RuleDraft, unit: Unit): UpdateAlarmRule {
  const before = settings(fromRule(rule, unit), unit) as Record<string, unknown>;
  const changed = Object.entries(settings(draft, unit)).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(before[name]));
  return { rule: rule.id, ...Object.fromEntries(changed) };
}
