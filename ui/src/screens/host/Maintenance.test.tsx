// Maintenance of a host: nothing moves unasked, and where its VMs would go is shown before they are moved.

import { screen, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { EvacuatedVm, Host } from '../../api/generated';
import { page, Refusal, serious, show, type Answers } from '../../testing/show';
import { HostMenu } from './verbs';

const host = { id: 'h1', name: 'xen1', pool: 'p', address: 'xen1:8444', maintenance: false, status: 'connected', vms: 2 } as Host;
const vms: EvacuatedVm[] = [
  { vm: 'v1', name: 'web-1', to: 'h2', to_name: 'xen2' },
  { vm: 'v2', name: 'db-1', error: 'no host can take it', detail: ['xen2: its disk is in the local storage of xen1'] },
];
const answers: Answers = {
  'vm.list': page([{ id: 'v1', name: 'web-1' }, { id: 'v2', name: 'db-1' }] as never[]),
  'host.set_maintenance': { ...host, maintenance: true },
  'host.evacuate': (params) => (params.dry_run ? { plan: { title: 'Evacuate xen1', maintenance: true, vms } } : { host: 'h1', vms: [{ ...vms[0], task: 't' }, vms[1]] }),
};

const open = async (verb: string) => {
  await userEvent.click(await screen.findByRole('button', { name: 'Actions for xen1' }));
  await userEvent.click(await screen.findByRole('menuitem', { name: new RegExp(`^${verb}`) }));
  return within(await screen.findByRole('dialog'));
};

describe('maintenance', () => {
  it('leaves the VMs where they are, once somebody has seen to them', async () => {
    const shown = await show(<HostMenu host={host} />, { answers });
    const dialog = await open('Begin maintenance');
    const begin = dialog.getByRole('button', { name: 'Begin maintenance' });
    await dialog.findByRole('link', { name: 'web-1' });
    expect(begin.hasAttribute('disabled')).toBe(true);
    await userEvent.click(dialog.getByRole('checkbox', { name: 'I see to them' }));
    await userEvent.click(begin);
    expect(shown.calls('host.set_maintenance')).toEqual([{ host: 'h1', maintenance: true }]);
    expect(shown.calls('host.evacuate')).toEqual([]);
  });

  it('moves them by a plan that is shown before, and says what stayed', async () => {
    const shown = await show(<HostMenu host={host} />, { answers });
    const dialog = await open('Begin maintenance');
    await userEvent.click(await dialog.findByRole('radio', { name: 'Move them to other hosts' }));
    await dialog.findByText('xen2');
    expect(dialog.getByText(/its disk is in the local storage of xen1/)).toBeTruthy();
    expect(await serious()).toEqual([]);
    expect(shown.calls('host.evacuate')).toEqual([{ host: 'h1', dry_run: true }]);
    await userEvent.click(dialog.getByRole('button', { name: 'Move its VMs away' }));
    expect(await screen.findByText('On their way: 1')).toBeTruthy();
    expect(shown.calls('host.evacuate').at(-1)).toEqual({ host: 'h1' });
    expect(shown.calls('host.set_maintenance')).toEqual([]);
  });

  it('says that a plan is refused before anything is asked for', async () => {
    const refuse = () => {
      throw new Refusal('xen1 is held by another task');
    };
    await show(<HostMenu host={host} />, { answers: { ...answers, 'host.evacuate': refuse } });
    const dialog = await open('Move its VMs away');
    expect(await dialog.findByText('It would be refused')).toBeTruthy();
    expect(dialog.getByText('xen1 is held by another task')).toBeTruthy();
  });
});
