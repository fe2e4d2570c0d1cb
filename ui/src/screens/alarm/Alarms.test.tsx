// What is wrong, what was, what raises it, and silence: from the lists to the calls.

import { screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { Alarm, AlarmRule, MetricInfo } from '../../api/generated';
import { page, Refusal, serious, show, somebody, type Answers } from '../../testing/show';
import { TopBar } from '../../shell/TopBar';
import { AlarmCard, AlarmsOf } from './AlarmCard';
import Alarms from './Alarms';
import RuleForm from './RuleForm';

const alarm = (more: Partial<Alarm> = {}): Alarm => ({ rule: 'r', rule_name: 'busy', severity: 'warning', of: 'vm', id: 'v', name: 'web-1', metric: 'cpu', value: 97, threshold: 90, since: '2026-01-01T00:00:00Z', silenced: false, ...more });
const own = alarm({ rule: null, rule_name: 'store-read-only', severity: 'error', of: 'orchestrator', id: 'orchestrator', name: 'orchestrator', metric: null, value: null, threshold: null, message: 'its disk is full' });
const rule: AlarmRule = { id: 'r', name: 'busy', enabled: true, of: 'vm', filter: 'tag:prod', metric: 'cpu', when: 'above', threshold: 90, clear: 80, for_s: 600, severity: 'warning', mail_to: ['ops@x.org'], webhook: '', syslog: '' };
const metrics: MetricInfo[] = [
  { metric: 'cpu', of: ['vm', 'host'], summary: '', unit: '%' },
  { metric: 'memory', of: ['vm', 'host'], summary: '', unit: 'B' },
  { metric: 'load', of: ['host'], summary: '', unit: '' },
];
const answers: Answers = {
  'alarm.list': page([alarm(), own]),
  'alarm.silences': [{ id: 's', rule: 'r', subject: 'vm/v', comment: 'load test', until: '2026-01-02T00:00:00Z', user: 'dora' }],
  'alarm.silence': (params) => ({ id: 's', comment: '', until: '', user: 'dora', ...params }),
  'alarm.unsilence': {},
  'alarm_rule.list': [rule],
  'alarm_rule.get': rule,
  'alarm_rule.create': rule,
  'alarm_rule.update': rule,
  'alarm_rule.delete': {},
  'metrics.list': metrics,
  'event.list': page([{ id: 'e', at: '2026-01-01T00:00:00Z', kind: 'alarm.cleared', severity: 'info' as const, subject: 'vm/v', message: 'web-1: cpu is 5.0 %, no longer above 90.0 % (busy)' }]),
  'vm.count': { total: 3, running: 2 },
  'vm.list': page([]),
  'host.list': page([]),
  'pool.list': page([]),
  'network.list': page([]),
  'mail.get': { server: '', port: 0, security: 'starttls', user: '', has_password: false, from: '', authority_pem: '' },
};
const menu = async (name: RegExp | string, verb: string) => {
  await userEvent.click(await screen.findByRole('button', { name }));
  return screen.findByRole('menuitem', { name: new RegExp(`^${verb}`) });
};

describe('what is wrong now', () => {
  it('says what, of whom, by which rule', async () => {
    await show(<Alarms />, { answers, at: '/alarms', route: '/alarms' });
    expect(await screen.findByRole('cell', { name: 'CPU is 97%, the threshold is 90%' })).toBeTruthy();
    expect(screen.getByRole('link', { name: 'web-1' }).getAttribute('href')).toBe('/vms/v/metrics');
    expect(screen.getByRole('link', { name: 'busy' }).getAttribute('href')).toBe('/alarm-rules/r');
    expect(screen.getByRole('cell', { name: 'its disk is full' })).toBeTruthy();
    expect(await serious()).toEqual([]);
  });

  it('is silenced for a while', async () => {
    const shown = await show(<Alarms />, { answers, at: '/alarms', route: '/alarms' });
    await userEvent.click(await menu(/^Actions for web-1/, 'Silence'));
    const dialog = within(await screen.findByRole('dialog'));
    await userEvent.click(dialog.getByRole('radio', { name: 'Every alarm of web-1' }));
    await userEvent.selectOptions(dialog.getByRole('combobox', { name: 'For how long' }), '14400');
    await userEvent.type(dialog.getByRole('textbox', { name: 'Why' }), 'load test');
    expect(await serious()).toEqual([]);
    await userEvent.click(dialog.getByRole('button', { name: 'Silence' }));
    expect(shown.calls('alarm.silence')).toEqual([{ of: 'vm', object: 'v', seconds: 14_400, comment: 'load test' }]);
  });

  it('cannot be silenced where it is the orchestrator’s own, nor by everybody', async () => {
    const shown = await show(<Alarms />, { answers, at: '/alarms', route: '/alarms' });
    expect((await menu(/^Actions for orchestrator/, 'Silence')).getAttribute('aria-disabled')).toBe('true');
    shown.unmount();
    await show(<Alarms />, { answers, at: '/alarms', route: '/alarms', user: somebody('operator') });
    expect((await menu(/^Actions for web-1/, 'Silence')).getAttribute('aria-disabled')).toBe('true');
    expect(screen.queryByRole('tab', { name: 'Rules' })).toBeNull();
  });

  it('may be nothing, and may not be read', async () => {
    const shown = await show(<Alarms />, { answers: { ...answers, 'alarm.list': page([]) }, at: '/alarms', route: '/alarms' });
    expect(await screen.findByText('Nothing is wrong')).toBeTruthy();
    shown.unmount();
    const broken = () => {
      throw new Refusal('the store is gone', 'internal');
    };
    await show(<Alarms />, { answers: { ...answers, 'alarm.list': broken }, at: '/alarms', route: '/alarms' });
    expect(await screen.findByText('the store is gone')).toBeTruthy();
  });

  it('stands in the address with its filter', async () => {
    const shown = await show(<Alarms />, { answers, at: '/alarms?q=of:host', route: '/alarms' });
    await waitFor(() => expect(shown.calls('alarm.list')[0]).toMatchObject({ filter: 'of:host' }));
  });
});

describe('what was wrong', () => {
  it('is the events of alarms, among which one filters', async () => {
    const shown = await show(<Alarms />, { answers, at: '/alarms?tab=past&q=web', route: '/alarms' });
    expect(await screen.findByText(/no longer above/)).toBeTruthy();
    expect(shown.calls('event.list')[0]).toMatchObject({ filter: 'kind:alarm. (web)' });
  });
});

describe('rules', () => {
  it('are listed in words, switched off, and deleted once their name was typed', async () => {
    const shown = await show(<Alarms />, { answers, at: '/alarms?tab=rules', route: '/alarms' });
    expect(await screen.findByRole('cell', { name: /^CPU above 90% for 10m/ })).toBeTruthy();
    await userEvent.click(await menu('Actions for busy', 'Switch off'));
    expect(shown.calls('alarm_rule.update')).toEqual([{ rule: 'r', enabled: false }]);
    await userEvent.click(await menu('Actions for busy', 'Delete'));
    const dialog = within(await screen.findByRole('dialog'));
    const button = dialog.getByRole('button', { name: 'Delete' });
    expect(button.hasAttribute('disabled')).toBe(true);
    await userEvent.type(dialog.getByRole('textbox'), 'busy');
    await userEvent.click(button);
    expect(shown.calls('alarm_rule.delete')).toEqual([{ rule: 'r' }]);
  });

  it.each([
    ['the name', 'bus', true],
    ['what it says, in any order', '90% cpu', true],
    ['how bad it is, as it is called here', 'warning', true],
    ['nothing that is there', 'cpu memory', false],
  ])('are found by %s', async (_what, words, found) => {
    await show(<Alarms />, { answers, at: `/alarms?tab=rules&q=${encodeURIComponent(words)}`, route: '/alarms' });
    expect(await screen.findByText(found ? 'busy' : 'No entry passes the filter.')).toBeTruthy();
  });

  it('are made: only metrics that the kind has, and a warning where no mail can be sent', async () => {
    const shown = await show(<RuleForm />, { answers, at: '/alarm-rules/new', route: '/alarm-rules/new' });
    await userEvent.type(await screen.findByRole('textbox', { name: 'Name' }), 'full');
    const choices = () => within(screen.getByRole('combobox', { name: 'Metric' })).getAllByRole('option').map(({ textContent }) => textContent);
    expect(choices()).toEqual(['CPU', 'Memory']);
    await userEvent.click(screen.getByRole('radio', { name: 'Hosts' }));
    expect(choices()).toEqual(['CPU', 'Memory', 'Load']);
    await userEvent.selectOptions(screen.getByRole('combobox', { name: 'Metric' }), 'memory');
    const threshold = screen.getByRole('textbox', { name: 'Threshold (MiB)' });
    await userEvent.clear(threshold);
    await userEvent.type(threshold, '1024');
    await userEvent.type(screen.getByRole('textbox', { name: 'By e-mail' }), 'ops@x.org');
    expect(await screen.findByText('No mail is sent: there is no mail server')).toBeTruthy();
    expect(screen.getByText(/^Memory above 1 GiB for 10m/)).toBeTruthy();
    expect(await serious()).toEqual([]);
    await userEvent.click(screen.getByRole('button', { name: 'Create' }));
    expect(shown.calls('alarm_rule.create')).toEqual([{ name: 'full', of: 'host', metric: 'memory', when: 'above', filter: '', threshold: 1024 ** 3, for_s: 600, severity: 'warning', mail_to: ['ops@x.org'], webhook: '', syslog: '' }]);
    await waitFor(() => expect(shown.address()).toBe('/alarms?tab=rules'));
  });

  it('are changed: what differs is sent', async () => {
    const shown = await show(<RuleForm />, { answers, at: '/alarm-rules/r', route: '/alarm-rules/:rule' });
    const threshold = await screen.findByRole('textbox', { name: 'Threshold (%)' });
    expect(screen.getByRole('button', { name: 'Change' }).hasAttribute('disabled')).toBe(true);
    await userEvent.clear(threshold);
    await userEvent.type(threshold, '70');
    expect(screen.getByText('The threshold, or on the good side of it.')).toBeTruthy();
    await userEvent.clear(screen.getByRole('textbox', { name: 'Over when it is back at (%)' }));
    await userEvent.click(screen.getByRole('button', { name: 'Change' }));
    expect(shown.calls('alarm_rule.update')).toEqual([{ rule: 'r', threshold: 70, clear: 70 }]);
  });

  it('are not for everybody', async () => {
    const shown = await show(<RuleForm />, { answers, at: '/alarm-rules/r', route: '/alarm-rules/:rule', user: somebody('operator') });
    expect(await screen.findByText('This needs the role admin of everything.')).toBeTruthy();
    expect(shown.asked).toEqual([]);
  });
});

describe('silences', () => {
  it('are ended', async () => {
    const shown = await show(<Alarms />, { answers: { ...answers, 'vm.list': page([{ id: 'v', name: 'web-1' }] as never[]) }, at: '/alarms?tab=silences', route: '/alarms' });
    await userEvent.click(await screen.findByRole('button', { name: 'Actions for busy, web-1' }));
    await userEvent.click(await screen.findByRole('menuitem', { name: /^End/ }));
    expect(shown.calls('alarm.unsilence')).toEqual([{ silence: 's' }]);
  });
});

describe('alarms in short', () => {
  it('are counted in the top bar, and lead to the list', async () => {
    const shown = await show(<TopBar leave={() => undefined} drawer={false} toggleDrawer={() => undefined} />, { answers });
    await userEvent.click(await screen.findByRole('button', { name: '2 alarms' }));
    expect(shown.address()).toBe('/alarms');
    expect(shown.calls('alarm.list')[0]).toMatchObject({ filter: 'silenced:no' });
  });

  it('stand on the home page, the worst first, and not when there are none', async () => {
    const shown = await show(<AlarmCard />, { answers });
    await screen.findByText('its disk is full');
    expect(screen.getAllByRole('listitem').map(({ textContent }) => textContent?.slice(0, 5))).toEqual(['Error', 'Warni']);
    shown.unmount();
    const none = await show(<AlarmCard />, { answers: { ...answers, 'alarm.list': page([]) } });
    await waitFor(() => expect(none.calls('alarm.list')).toHaveLength(1));
    expect(screen.queryByText('Alarms')).toBeNull();
  });

  it('stand on the page of what is wrong, and not on that of another of a name like it', async () => {
    const shown = await show(<AlarmsOf of="vm" id="v" name="web" />, { answers: { ...answers, 'alarm.list': page([alarm({ id: 'other', rule_name: 'another' }), alarm({ silenced: true })]) } });
    expect(await screen.findByText('busy, silenced')).toBeTruthy();
    expect(screen.queryByText('another')).toBeNull();
    expect(shown.calls('alarm.list')[0]).toMatchObject({ filter: 'of:vm name:"web"' });
  });
});
