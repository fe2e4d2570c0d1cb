// The wizard says on each step what it waits for, and goes on when it is there.

import { screen, waitFor } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import { page, show, somebody, type Answers } from '../../../testing/show';
import NewVm from './NewVm';

const answers: Answers = { 'pool.list': page([]), 'host.list': page([]), 'network.list': page([]), 'template.list': page([]), 'iso.list': page([]), 'vdi.list': page([]) };

const next = () => screen.getByRole('button', { name: 'Next' });

describe('the wizard', () => {
  it('says which fields of a step it waits for', async () => {
    await show(<NewVm />, { answers, at: '/vms/new' });
    expect(await screen.findByText('Still to be filled in or corrected: Name, Kernel.')).toBeTruthy();
    expect(next().hasAttribute('disabled')).toBe(true);
    await userEvent.type(screen.getByRole('textbox', { name: 'Name' }), 'web 1');
    expect(await screen.findByText('Still to be filled in or corrected: Name, Kernel.')).toBeTruthy();
    await userEvent.clear(screen.getByRole('textbox', { name: 'Name' }));
    await userEvent.type(screen.getByRole('textbox', { name: 'Name' }), 'web-1');
    expect(await screen.findByText('Still to be filled in or corrected: Kernel.')).toBeTruthy();
    await userEvent.type(screen.getByRole('textbox', { name: 'Kernel' }), 'vmlinuz');
    await waitFor(() => expect(screen.queryByText(/^Still to be filled in/)).toBeNull());
    await userEvent.click(next());
    expect(await screen.findByRole('button', { name: 'Add a disk' })).toBeTruthy();
  });

  it('says to a viewer why there is none', async () => {
    await show(<NewVm />, { answers, at: '/vms/new', user: somebody('viewer') });
    expect(await screen.findByText('This needs the role operator.')).toBeTruthy();
  });
});
