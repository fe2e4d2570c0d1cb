// Rules as they are typed and as they are sent.

import { describe, expect, it } from 'vitest';
import type { AlarmRule, Unit } from '../../api/generated';
import { createRule, EMPTY_RULE, fromRule, parseValue, problems, ruleReady, showValue, updateRule, type RuleDraft } from './draft';
import { silenceOf } from './Silence';

const rule: AlarmRule = { id: 'r', name: 'full', enabled: true, of: 'host', filter: 'pool:default', metric: 'dom0.memory', when: 'above', threshold: 900e6, clear: 800e6, for_s: 90, severity: 'error', mail_to: ['b@x.org', 'a@x.org'], webhook: '', syslog: 'udp://log:514' };

describe('a rule', () => {
  it('says only what is not as usual', () => {
    expect(createRule({ ...EMPTY_RULE, name: ' busy ' }, '%')).toEqual({ name: 'busy', of: 'vm', metric: 'cpu', when: 'above', filter: '', threshold: 90, for_s: 600, severity: 'warning', mail_to: [], webhook: '', syslog: '' });
    expect(createRule({ ...EMPTY_RULE, name: 'busy', clear: '80' }, '%')).toMatchObject({ threshold: 90, clear: 80 });
  });

  it('sends what differs and nothing else, also of what is no whole number of MiB', () => {
    expect(updateRule(rule, fromRule(rule, 'B'), 'B')).toEqual({ rule: 'r' });
    expect(updateRule(rule, { ...fromRule(rule, 'B'), threshold: '1024', minutes: 2 }, 'B')).toEqual({ rule: 'r', threshold: 1024 ** 3, for_s: 120 });
    expect(updateRule(rule, { ...fromRule(rule, 'B'), mail: '' }, 'B')).toEqual({ rule: 'r', mail_to: [] });
  });

  it.each<[string, Unit, number | undefined]>([
    ['90', '%', 90],
    ['0,5', '', 0.5],
    ['1.5', 'B/s', 1_572_864],
    ['', '%', undefined],
    ['-1', '%', undefined],
    ['many', '%', undefined],
  ])('takes %j in %s as %s', (text, unit, value) => expect(parseValue(text, unit)).toBe(value));

  it('shows a value as it is typed', () => expect([showValue(1_572_864, 'B'), showValue(90, '%')]).toEqual(['1.5', '90']));

  it.each<[keyof ReturnType<typeof problems>, Partial<RuleDraft>]>([
    ['name', { name: 'x'.repeat(65) }],
    ['threshold', { threshold: '' }],
    ['clear', { clear: '91' }],
    ['clear', { when: 'below', clear: '89' }],
    ['clear', { clear: 'low' }],
    ['mail', { mail: 'nobody' }],
    ['mail', { mail: Array.from({ length: 21 }, (_, at) => `a${at}@x.org`).join(' ') }],
    ['webhook', { webhook: 'ftp://x' }],
    ['syslog', { syslog: 'log.example.org:514' }],
    ['syslog', { syslog: 'udp://log.example.org' }],
  ])('has a wrong %s: %j', (field, part) => {
    const draft = { ...EMPTY_RULE, name: 'busy', ...part };
    expect(Object.keys(problems(draft, '%'))).toEqual([field]);
    expect(ruleReady(draft, '%')).toBe(false);
  });

  it('is whole with a name', () => {
    expect(ruleReady({ ...EMPTY_RULE, name: ' ' }, '%')).toBe(false);
    expect(ruleReady({ ...EMPTY_RULE, name: 'busy', mail: 'a@x.org, b@x.org', webhook: 'https://x', syslog: 'udp://[::1]:514', when: 'below', threshold: '5', clear: '10' }, '%')).toBe(true);
  });
});

describe('a silence', () => {
  const alarm = { rule: 'r', rule_name: 'busy', severity: 'error' as const, of: 'vm' as const, id: 'v', name: 'web-1', since: '', silenced: false };
  it.each([
    ['of one alarm', 'both', { rule: 'r', of: 'vm', object: 'v', seconds: 60 }],
    ['of a rule', 'rule', { rule: 'r', seconds: 60 }],
    ['of a VM', 'object', { of: 'vm', object: 'v', seconds: 60 }],
  ] as const)('%s', (_name, about, wanted) => expect(silenceOf({ alarm }, about, 60, '')).toEqual(wanted));
  it('of a rule as a whole, with the reason', () => expect(silenceOf({ rule }, 'both', 60, 'test')).toEqual({ rule: 'r', seconds: 60, comment: 'test' }));
});
