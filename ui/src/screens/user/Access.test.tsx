// What a user may do in the end: on what, by which role, and what nobody else is told.

import { screen, within } from '@testing-library/react';
import { describe, expect, it } from 'vitest';
import type { Covered, UserAccess } from '../../api/generated';
import { page, serious, show, somebody, type Answers } from '../../testing/show';
import { Access } from './Access';
import UserPage from './UserPage';

const on = (vms: number): Covered => ({ everything: false, pools: 0, hosts: 0, srs: 0, networks: 0, vms });

const DORA: UserAccess = {
  user: 'd',
  name: 'dora',
  permissions: [
    { permission: 'own', methods: ['auth.whoami'], on: on(0), grounds: [] },
    {
      permission: 'view',
      methods: ['vm.list', 'vm.get'],
      on: on(3),
      grounds: [
        { binding: { role: 'viewer', scope: { kind: 'pool', value: 'p' } }, on: { ...on(3), pools: 1, hosts: 2 } },
        { binding: { role: 'operator', scope: { kind: 'tag', value: 'dev' } }, on: on(0) },
      ],
    },
  ],
};

const answers: Answers = {
  'user.access': DORA,
  'host.list': page([]),
  'pool.list': page([{ id: 'p', name: 'east', description: '', created: '', hosts: 0, vms: 0 } as never]),
  'network.list': page([]),
};

describe('what somebody may do', () => {
  it('is told by permission: on what, because of which role, and what has nothing behind it', async () => {
    const shown = await show(<Access user="d" />, { answers });
    const view = within((await screen.findByText('Look at what is there')).closest('tr') as HTMLElement);
    expect(view.getByText('2 methods')).toBeTruthy();
    const link = await view.findByRole('link', { name: '3 VMs' });
    expect(decodeURIComponent(link.getAttribute('href') ?? '')).toBe('/vms?q=pool:"east"');
    expect(view.getByText('no VM has this tag')).toBeTruthy();
    // What is not told may not be done.
    const secure = within(screen.getByText('Administer users, tokens and the audit log').closest('tr') as HTMLElement);
    expect(secure.getByText('nothing')).toBeTruthy();
    expect(shown.calls('user.access')).toEqual([{ user: 'd' }]);
    expect(await serious()).toEqual([]);
  });

  it('is asked of oneself without a name', async () => {
    const shown = await show(<Access />, { answers });
    expect(await screen.findByRole('heading', { name: 'What you may do' })).toBeTruthy();
    await screen.findByText('Look at what is there');
    expect(shown.calls('user.access')).toEqual([{}]);
  });

  it('says why nothing of it holds', async () => {
    await show(<Access user="d" />, { answers: { ...answers, 'user.access': { ...DORA, barred: 'disabled' } } });
    expect(await screen.findByText(/^The user is disabled/)).toBeTruthy();
  });

  it('stands on the page of the user, beside their tokens and what they asked for', async () => {
    await show(<UserPage />, { answers: { ...answers, 'user.get': { ...somebody('viewer'), id: 'd', name: 'anna b' } }, at: '/users/d', route: '/users/:user' });
    expect(await screen.findByRole('heading', { name: 'What they may do' })).toBeTruthy();
    const asked = screen.getByRole('link', { name: 'What they asked for' });
    expect(decodeURIComponent(asked.getAttribute('href') ?? '')).toBe('/audit?q=user:"anna b"');
    expect(await serious()).toEqual([]);
  });
});
