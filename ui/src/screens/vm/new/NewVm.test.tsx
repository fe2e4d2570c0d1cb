// The wizard says on each step what it waits for, and goes on when it is there; where one is and what is filled in stand
// in its address.

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

  it('goes one step back with the browser, and keeps what was typed later', async () => {
    const shown = await show(<NewVm />, { answers, at: '/vms/new', route: '/vms/new' });
    await userEvent.type(await screen.findByRole('textbox', { name: 'Name' }), 'web-1');
    await userEvent.type(screen.getByRole('textbox', { name: 'Kernel' }), 'vmlinuz');
    await userEvent.click(next());
    await userEvent.click(await screen.findByRole('button', { name: 'Add a disk' }));
    await waitFor(() => expect(shown.address()).toBe('/vms/new?step=hardware&name=web-1&kernel=vmlinuz&disks=new%3A10+new%3A10'));
    await shown.back();
    expect((await screen.findByRole<HTMLInputElement>('textbox', { name: 'Name' })).value).toBe('web-1');
    await waitFor(() => expect(shown.address()).toBe('/vms/new?name=web-1&kernel=vmlinuz&disks=new%3A10+new%3A10'));
    await userEvent.click(next());
    expect(await screen.findByRole('button', { name: 'Leave out disk 2' })).toBeTruthy();
  });

  it('is where its address says, with what it says', async () => {
    const shown = await show(<NewVm />, { answers, at: '/vms/new?step=hardware&name=web-1&kind=hvm&vcpus=4&disks=new:20+there:d1', route: '/vms/new' });
    expect((await screen.findByLabelText<HTMLInputElement>('vCPUs')).value).toBe('4');
    expect(screen.getByLabelText<HTMLInputElement>('Size (GiB)').value).toBe('20');
    expect(screen.getByLabelText<HTMLSelectElement>('Disk 2').value).toBe('there');
    expect(shown.address()).toContain('step=hardware');
  });

  it.each([
    ['a step that waits for an earlier one', 'step=review&name=web-1'],
    ['a step that there is not', 'step=nowhere&name=web-1'],
    ['disks that are none', 'disks=new:x+gone&name=web-1'],
  ])('begins at the first step of an address with %s', async (_what, search) => {
    await show(<NewVm />, { answers, at: `/vms/new?${search}`, route: '/vms/new' });
    expect((await screen.findByRole<HTMLInputElement>('textbox', { name: 'Name' })).value).toBe('web-1');
    expect(await screen.findByText('Still to be filled in or corrected: Kernel.')).toBeTruthy();
  });

  it('does not jump when what an address lacked is filled in', async () => {
    const shown = await show(<NewVm />, { answers, at: '/vms/new?step=review&name=web-1', route: '/vms/new' });
    await userEvent.type(await screen.findByRole('textbox', { name: 'Kernel' }), 'vmlinuz');
    await waitFor(() => expect(shown.address()).toBe('/vms/new?name=web-1&kernel=vmlinuz'));
    expect(screen.getByRole('textbox', { name: 'Kernel' })).toBeTruthy();
  });

  it('says to a viewer why there is none', async () => {
    await show(<NewVm />, { answers, at: '/vms/new', user: somebody('viewer') });
    expect(await screen.findByText('This needs the role operator.')).toBeTruthy();
  });
});
