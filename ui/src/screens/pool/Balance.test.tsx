// A pool is balanced: the plan is seen before, what is set is all that is changed, and who may not is told why.

import { screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { BalancePlan, BalanceStatus } from '../../api/generated';
import { page, serious, show, somebody, type Answers } from '../../testing/show';
import { balanceParams, policyOf } from './draft';
import PoolPage from './PoolPage';

const plan: BalancePlan = {
  goal: 'performance',
  made: '2026-01-01T00:00:00Z',
  moves: [{ vm: 'v', name: 'web-1', from: 'h1', from_name: 'xen1', to: 'h2', to_name: 'xen2', memory: 1024, reason: 'xen1 is 30 % above the mean' }],
  hosts: [{ host: 'h1', name: 'xen1', memory_percent: 80, memory_percent_after: 60, cpu_percent: 10, cpu_percent_after: 8 }],
  power_off: [],
  notes: ['db-1 has a PCI device'],
};
const status: BalanceStatus = { pool: 'p', policy: { mode: 'propose', per_hour: 60 }, moved_last_hour: 3, proposal: null, task: null };

const answers: Answers = {
  'pool.list': page([{ id: 'p', name: 'east', description: 'The new hall' }]),
  'host.list': page([{ id: 'h1', name: 'xen1', pool: 'p', status: 'connected', maintenance: false }] as never[]),
  'network.list': page([]),
  'vm.count': { total: 7, running: 5 },
  'pool.balance_status': status,
  'pool.balance': ({ dry_run }) => (dry_run ? { plan } : { task: 't', object: 'p' }),
  'pool.set_balance': status,
};
const at = { at: '/pools/p', route: '/pools/:pool' };

describe('what is changed', () => {
  it('is what differs, with what nobody said as it usually is', () => {
    const draft = policyOf({ mode: 'propose' });
    expect(balanceParams('p', { mode: 'propose' }, draft)).toEqual({ pool: 'p' });
    expect(balanceParams('p', { mode: 'propose' }, { ...draft, mode: 'automatic', min_gain_percent: 0 })).toEqual({ pool: 'p', mode: 'automatic', min_gain_percent: 0 });
  });
});

describe('the page of a pool', () => {
  it('shows the plan, and carries it out when that is said', async () => {
    const shown = await show(<PoolPage />, { answers, ...at });
    expect(await screen.findByRole('link', { name: '7 VMs' })).toBeTruthy();
    await userEvent.click(await screen.findByRole('button', { name: 'Balance now' }));
    const dialog = within(await screen.findByRole('dialog'));
    expect(await dialog.findByText('xen1 is 30 % above the mean')).toBeTruthy();
    expect(dialog.getByText('80% to 60%')).toBeTruthy();
    expect(dialog.getByText('db-1 has a PCI device')).toBeTruthy();
    expect(await serious()).toEqual([]);
    await userEvent.click(dialog.getByRole('button', { name: 'Move them' }));
    await waitFor(() => expect(shown.calls('pool.balance').map(({ dry_run }) => !!dry_run)).toEqual([true, false]));
    expect(shown.calls('pool.balance').at(-1)).toEqual({ pool: 'p', goal: 'performance' });
  });

  it('moves nothing where nothing is to be moved', async () => {
    await show(<PoolPage />, { answers: { ...answers, 'pool.balance': () => ({ plan: { ...plan, moves: [], hosts: [] } }) }, ...at });
    await userEvent.click(await screen.findByRole('button', { name: 'Balance now' }));
    const dialog = within(await screen.findByRole('dialog'));
    expect(await dialog.findByText('Nothing is to be moved')).toBeTruthy();
    expect(dialog.getByRole('button', { name: 'Move them' }).hasAttribute('disabled')).toBe(true);
  });

  it('changes how, and nothing that stayed', async () => {
    const shown = await show(<PoolPage />, { answers: { ...answers, 'pool.balance_status': { ...status, proposal: plan } }, ...at });
    // What waits for somebody is there without asking.
    expect(await screen.findByText('xen1 is 30 % above the mean')).toBeTruthy();
    await userEvent.click(screen.getByRole('button', { name: 'Change how' }));
    const dialog = within(await screen.findByRole('dialog'));
    await userEvent.click(dialog.getByRole('radio', { name: 'By itself' }));
    expect(await serious()).toEqual([]);
    await userEvent.click(dialog.getByRole('button', { name: 'Change' }));
    await waitFor(() => expect(shown.calls('pool.set_balance')).toEqual([{ pool: 'p', mode: 'automatic' }]));
  });

  it('says why a viewer cannot', async () => {
    await show(<PoolPage />, { answers, user: somebody('viewer'), ...at });
    const button = await screen.findByRole('button', { name: 'Balance now' });
    expect(button.getAttribute('aria-disabled')).toBe('true');
    expect(button.getAttribute('aria-description')).toBe('This needs the role admin.');
  });
});
