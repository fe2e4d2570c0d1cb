// A restore stands in its address, but for what has to be typed by whoever does it; and says what it waits for.

import { screen, waitFor } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { Backup } from '../../api/generated';
import { page, serious, show, type Answers } from '../../testing/show';
import Restore from './Restore';

const backup = { id: 'b', repository: 'r', repository_name: 'main', vm: 'v', vm_name: 'mail', created: '2026-01-01T02:00:00Z', disks: [{ name: 'xvda', size: 1 }, { name: 'xvdb', size: 2 }], networks: [] } as unknown as Backup;
const answers: Answers = { 'backup.get': backup, 'host.list': page([]), 'pool.list': page([]), 'network.list': page([]), 'sr.list': page([]), 'backup.restore': { task: 't' } };
const at = (search: string) => ({ answers, at: `/restore/r/b?${search}`, route: '/restore/:repository/:backup' });

describe('a restore', () => {
  it('has what is chosen in its address, and comes from there', async () => {
    const shown = await show(<Restore />, at('name=mail-2&disks=xvdb+gone&start=yes'));
    expect((await screen.findByRole<HTMLInputElement>('textbox', { name: 'Name' })).value).toBe('mail-2');
    expect(screen.getByRole<HTMLInputElement>('checkbox', { name: /xvda/ }).checked).toBe(false);
    await userEvent.click(screen.getByRole('checkbox', { name: /xvdb/ }));
    expect(await screen.findByText('Still to be filled in or corrected: Disks.')).toBeTruthy();
    await waitFor(() => expect(shown.address()).toBe('/restore/r/b?name=mail-2&disks=&start=yes'));
    await userEvent.click(screen.getByRole('checkbox', { name: /xvda/ }));
    await userEvent.click(screen.getByRole('button', { name: 'Restore' }));
    await waitFor(() => expect(shown.calls('backup.restore')).toEqual([{ backup: 'b', repository: 'r', target: { kind: 'new_vm', name: 'mail-2' }, disks: ['xvda'], start: true }]));
  });

  it('is not made over a VM by a link alone', async () => {
    const shown = await show(<Restore />, at('as=in_place&typed=mail'));
    const typed = await screen.findByRole('textbox', { name: 'Type mail to go on' });
    expect(await screen.findByText('Still to be filled in or corrected: Type mail to go on.')).toBeTruthy();
    await userEvent.type(typed, 'mai');
    expect(await screen.findByText('Still to be filled in or corrected: Type mail to go on.')).toBeTruthy();
    expect(screen.getByRole('button', { name: 'Restore' }).hasAttribute('disabled')).toBe(true);
    expect(await serious()).toEqual([]);
    await userEvent.type(typed, 'l');
    await waitFor(() => expect(screen.queryByText(/^Still to be filled in/)).toBeNull());
    expect(shown.address()).toBe('/restore/r/b?as=in_place&typed=mail');
  });
});
