// The wizard's step, its choice and where to stand in its address; what has begun does not.

import { screen, waitFor } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { ImportSource, SourceVm } from '../../../api/generated';
import { page, Refusal, serious, show, type Answers } from '../../../testing/show';
import NewImport from './NewImport';

const vm = (id: string, name: string, template = false) => ({ id, name, template, os: 'Debian', host: 'esx1', power: 'off', vcpus: 1, memory_mib: 1024, transfer_mib: 1024, networks: ['VM Network'] }) as unknown as SourceVm;
const answers: Answers = {
  'import.sources': [{ id: 's', name: 'vcenter', about: 'vCenter 8', user: 'root', address: 'vc' } as unknown as ImportSource],
  'import.inventory': [vm('vm-1', 'web'), vm('vm-2', 'db'), vm('vm-3', 'image', true)],
  'import.assess': [],
  'import.start': { task: 't', object: 'i' },
  'pool.list': page([]),
  'host.list': page([]),
  'network.list': page([]),
};
const at = (search: string) => ({ answers, at: `/imports/new?${search}`, route: '/imports/new' });
const next = () => screen.getByRole('button', { name: 'Next' });

describe('VMs out of vSphere', () => {
  it('says what each step waits for, and has the choice in its address', async () => {
    const shown = await show(<NewImport />, at(''));
    expect(await screen.findByText('Choose where they come from.')).toBeTruthy();
    await userEvent.click(await screen.findByRole('radio', { name: 'vcenter' }));
    await userEvent.click(next());
    expect(await screen.findByText('Choose at least one VM.')).toBeTruthy();
    await userEvent.click(await screen.findByRole('checkbox', { name: /web/ }));
    await waitFor(() => expect(shown.address()).toBe('/imports/new?step=import-vms&source=s&vms=vm-1'));
    await userEvent.click(next());
    await userEvent.click(await screen.findByRole('radio', { name: 'At a time' }));
    expect(await screen.findByText('Still to be filled in or corrected: Time.')).toBeTruthy();
    expect(await serious()).toEqual([]);
    await shown.back();
    expect(await screen.findByText(/^1 of 3 chosen/)).toBeTruthy();
  });

  it('is where its address says, with those VMs that are there', async () => {
    const shown = await show(<NewImport />, at('step=import-options&source=s&vms=vm-2+vm-3+gone&networks=VM%2520Network:n1&tags=old'));
    expect((await screen.findByRole<HTMLInputElement>('textbox', { name: 'Tags' })).value).toBe('old');
    await waitFor(() => expect(shown.address()).toContain('vms=vm-2&'));
  });

  it('says why its choice cannot be read, and keeps it', async () => {
    const refused = () => {
      throw new Refusal('the source does not answer');
    };
    const shown = await show(<NewImport />, { ...at('step=import-vms&source=s&vms=vm-1'), answers: { ...answers, 'import.inventory': refused } });
    expect(await screen.findByText('the source does not answer')).toBeTruthy();
    expect(shown.address()).toContain('vms=vm-1');
  });

  it('does not offer again after a reload what has begun', async () => {
    const shown = await show(<NewImport />, at('step=import-plan&source=s&vms=vm-1'));
    await userEvent.click(await screen.findByRole('button', { name: 'Begin' }));
    await waitFor(() => expect(shown.address()).toBe('/imports/new?step=import-plan'));
    expect(shown.calls('import.start')).toHaveLength(1);
    expect(screen.getByRole('button', { name: 'Begin' }).hasAttribute('disabled')).toBe(true);
  });
});
