// When a VM runs again after its host died: what is set is shown first, and a change can be taken back.

import { screen, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { PoolHa, Vm } from '../../api/generated';
import { serious, show, type Answers } from '../../testing/show';
import { SetPriority } from './Priority';

const vm = { id: 'v', name: 'db-1', pool: 'p', managed: true } as Vm;
const ha: PoolHa = { pool: 'p', armed: { sr: 's', beat_s: 5, lease_s: 60, watchdog_s: 60 }, hosts: [], priorities: [{ vm: 'v', name: 'db-1', priority: 'low' }] };
const answers: Answers = { 'ha.show': ha, 'ha.set_priority': ha };

describe('the restart priority of a VM', () => {
  it('is shown as it is, changed, and taken back', async () => {
    const shown = await show(<SetPriority vm={vm} close={() => undefined} />, { answers });
    const dialog = within(await screen.findByRole('dialog'));
    const low = await dialog.findByRole('radio', { name: 'After all others', checked: true });
    expect(low).toBeTruthy();
    const change = dialog.getByRole('button', { name: 'Change' });
    expect(change.hasAttribute('disabled')).toBe(true);
    await userEvent.click(dialog.getByRole('radio', { name: 'Before all others' }));
    expect(await serious()).toEqual([]);
    await userEvent.click(change);
    // The test keeps the dialog open, in front of the message.
    await userEvent.click(await screen.findByRole('button', { name: 'Undo', hidden: true }));
    expect(shown.calls('ha.set_priority').map(({ priority }) => priority)).toEqual(['high', 'low']);
  });
});
