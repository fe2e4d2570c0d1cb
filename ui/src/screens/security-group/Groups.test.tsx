// Security groups: open, closed and listed are three things, and stay so on their way to the API and back.

import { screen, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { SecurityGroup } from '../../api/generated';
import { page, serious, show, somebody, type Answers } from '../../testing/show';
import Groups from './Groups';
import { directionReady, fromRules, toRules, wrongRule } from './rules';

const web: SecurityGroup = { id: 'g', name: 'web', pool: 'p', tag: 'web', ingress: ['tcp:80,443'], egress: null };
const answers: Answers = {
  'security_group.list': page([web]),
  'security_group.create': web,
  'security_group.set_rules': web,
  'security_group.delete': {},
  'pool.list': page([{ id: 'p', name: 'lab' }] as never[]),
  'host.list': page([]),
  'network.list': page([]),
  'filter.complete': { from: 0, candidates: [] },
};

describe('rules', () => {
  it.each([[null], [[]], [['tcp:80,443', 'any tag:web']]])('%j come back as they went in', (rules) => {
    expect(toRules(fromRules(rules))).toEqual(rules);
  });

  it.each<[string, string | undefined]>([
    ['tcp:22,443 10.0.0.0/8', undefined],
    ['udp:8000-8099', undefined],
    ['any', undefined],
    ['icmp fd00::/8', undefined],
    ['any tag:web servers', undefined],
    ['tcp\n\n  any tag:a  ', undefined],
    ['icmp:22', 'icmp:22'],
    ['tcp:0', 'tcp:0'],
    ['tcp:9-8', 'tcp:9-8'],
    ['tcp:70000', 'tcp:70000'],
    ['tcp:22 everybody', 'tcp:22 everybody'],
    ['any\nhttp', 'http'],
  ])('%j', (text, wrong) => expect(wrongRule(text)).toBe(wrong));

  it('an empty list is not closed by accident', () => {
    expect(directionReady({ way: 'listed', text: ' \n ' })).toBe(false);
    expect(directionReady({ way: 'closed', text: 'nonsense' })).toBe(true);
  });
});

describe('the screen', () => {
  it('makes a group, and does not speak of what was left open', async () => {
    const shown = await show(<Groups />, { answers, at: '/security-groups' });
    await screen.findByRole('button', { name: 'Actions for web' });
    await userEvent.click(screen.getByRole('button', { name: 'Create a security group' }));
    const dialog = within(await screen.findByRole('dialog'));
    const create = dialog.getByRole('button', { name: 'Create' });
    await userEvent.type(dialog.getByRole('textbox', { name: 'Name' }), 'db');
    await userEvent.type(dialog.getByRole('textbox', { name: 'Tag' }), 'db');
    const rules = dialog.getByRole('textbox', { name: 'Rules: What may be sent to them' });
    await userEvent.type(rules, 'tcp:5432 tag:web{Enter}ssh');
    expect(dialog.getByText('This is no rule: ssh')).toBeTruthy();
    expect(create.hasAttribute('disabled')).toBe(true);
    await userEvent.type(rules, '{Backspace}{Backspace}{Backspace}');
    expect(await serious()).toEqual([]);
    await userEvent.click(create);
    expect(shown.calls('security_group.create')).toEqual([{ name: 'db', tag: 'db', description: '', ingress: ['tcp:5432 tag:web'], egress: null }]);
  });

  it('replaces both directions at once', async () => {
    const shown = await show(<Groups />, { answers, at: '/security-groups' });
    await userEvent.click(await screen.findByRole('button', { name: 'Actions for web' }));
    await userEvent.click(await screen.findByRole('menuitem', { name: /^Change its rules/ }));
    const dialog = within(await screen.findByRole('dialog'));
    const change = dialog.getByRole('button', { name: 'Change' });
    expect(change.hasAttribute('disabled')).toBe(true);
    await userEvent.selectOptions(dialog.getByRole('combobox', { name: 'What they may send' }), 'closed');
    await userEvent.click(change);
    expect(shown.calls('security_group.set_rules')).toEqual([{ group: 'g', ingress: ['tcp:80,443'], egress: [] }]);
  });

  it('is only looked at by who may not change it', async () => {
    await show(<Groups />, { answers, at: '/security-groups', user: somebody('viewer') });
    const create = await screen.findByRole('button', { name: 'Create a security group' });
    expect(create.getAttribute('aria-disabled')).toBe('true');
  });
});
