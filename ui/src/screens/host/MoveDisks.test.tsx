// Disks of VMs that leave a host: they go along where somebody asks for it, and how much they are is said before.

import { screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { EvacuatedVm, Host, Pool } from '../../api/generated';
import { page, serious, show, type Answers } from '../../testing/show';
import { UpdatePool } from '../pool/Update';
import { GoDown } from './GoDown';
import { Upgrade } from './Upgrade';
import { HostMenu } from './verbs';

const GIB = 1024 ** 3;
const host = { id: 'h1', name: 'xen1', pool: 'p', address: 'xen1:8444', maintenance: false, status: 'connected', vms: 2 } as Host;
const pool = { id: 'p', name: 'east' } as Pool;
const close = () => undefined;
const stuck: EvacuatedVm = { vm: 'v2', name: 'db-1', error: 'no host can take it', detail: ['xen2: its disk is in the local storage of xen1'] };
const went: EvacuatedVm = { vm: 'v2', name: 'db-1', to: 'h2', to_name: 'xen2', disk_bytes: 40 * GIB };
const light: EvacuatedVm = { vm: 'v1', name: 'web-1', to: 'h2', to_name: 'xen2' };
/** As the orchestrator plans it: without its disk one of them stays. */
const vms = (params: { move_disks?: boolean }) => [light, params.move_disks ? went : stuck];

const take = async () => userEvent.click(await screen.findByRole('checkbox', { name: /^Take disks along/ }));

describe('disks that no other host reaches', () => {
  it('go along with an evacuation that asks for it, by a plan that counts them', async () => {
    const answers: Answers = { 'host.evacuate': (params) => (params.dry_run ? { plan: { vms: vms(params) } } : { host: 'h1', vms: vms(params) }) };
    const shown = await show(<HostMenu host={host} />, { answers });
    await userEvent.click(await screen.findByRole('button', { name: 'Actions for xen1' }));
    await userEvent.click(await screen.findByRole('menuitem', { name: /^Move its VMs away/ }));
    const dialog = within(await screen.findByRole('dialog'));
    expect(await dialog.findByText('These would stay:')).toBeTruthy();
    expect(dialog.queryByText(/^Disks that are copied/)).toBeNull();
    await take();
    expect(await dialog.findByText('Disks that are copied: 40 GiB')).toBeTruthy();
    expect(dialog.queryByText('These would stay:')).toBeNull();
    expect(await serious()).toEqual([]);
    await userEvent.click(dialog.getByRole('button', { name: 'Move its VMs away' }));
    expect(await screen.findByText('On their way: 2')).toBeTruthy();
    expect(shown.calls('host.evacuate')).toEqual([{ host: 'h1', dry_run: true }, { host: 'h1', move_disks: true, dry_run: true }, { host: 'h1', move_disks: true }]);
  });

  it('go along when maintenance begins', async () => {
    const answers: Answers = { 'vm.list': page([{ id: 'v1', name: 'web-1' }] as never[]), 'host.evacuate': (params) => (params.dry_run ? { plan: { vms: vms(params) } } : { host: 'h1', vms: vms(params) }) };
    const shown = await show(<HostMenu host={host} />, { answers });
    await userEvent.click(await screen.findByRole('button', { name: 'Actions for xen1' }));
    await userEvent.click(await screen.findByRole('menuitem', { name: /^Begin maintenance/ }));
    await userEvent.click(await screen.findByRole('radio', { name: 'Move them to other hosts' }));
    await take();
    expect(await screen.findByText('Disks that are copied: 40 GiB')).toBeTruthy();
    await userEvent.click(screen.getByRole('button', { name: 'Move its VMs away' }));
    await waitFor(() => expect(shown.calls('host.evacuate').at(-1)).toEqual({ host: 'h1', move_disks: true }));
  });

  it('go along before a reboot, and are no matter where VMs are shut down', async () => {
    const answers: Answers = { 'host.reboot': (params) => (params.dry_run ? { plan: { vms: params.guests === 'evacuate' ? [light, went] : [], shut_down: params.guests === 'shut-down' ? ['web-1'] : [] } } : { task: 't' }) };
    const shown = await show(<GoDown host={host} method="host.reboot" close={close} />, { answers });
    expect(screen.queryByRole('checkbox')).toBeNull();
    await userEvent.click(await screen.findByRole('radio', { name: 'Move them to other hosts' }));
    await take();
    expect(await screen.findByText('db-1 moves to xen2, with 40 GiB of disks')).toBeTruthy();
    expect(screen.getByText('web-1 moves to xen2')).toBeTruthy();
    expect(await serious()).toEqual([]);
    await userEvent.click(screen.getByRole('radio', { name: 'Shut them down, the important ones last' }));
    expect(await screen.findByText('web-1 is shut down')).toBeTruthy();
    expect(shown.calls('host.reboot').at(-1)).toEqual({ host: 'h1', guests: 'shut-down', dry_run: true });
    await userEvent.click(screen.getByRole('radio', { name: 'Move them to other hosts' }));
    await waitFor(() => expect(screen.getByRole('button', { name: 'Reboot' }).hasAttribute('disabled')).toBe(false));
    await userEvent.click(screen.getByRole('button', { name: 'Reboot' }));
    await waitFor(() => expect(shown.calls('host.reboot').at(-1)).toEqual({ host: 'h1', guests: 'evacuate', move_disks: true }));
  });

  it('go along before an upgrade, whose plan is shown once it has an address', async () => {
    const answers: Answers = { 'host.upgrade': (params) => (params.dry_run ? { plan: { vms: params.evacuate ? [went] : [] } } : { task: 't' }) };
    const shown = await show(<Upgrade host={host} close={close} />, { answers });
    await userEvent.click(await screen.findByRole('checkbox', { name: /^Move its VMs away first/ }));
    await take();
    expect(shown.calls('host.upgrade')).toEqual([]);
    await userEvent.click(screen.getByRole('textbox', { name: /^Address of the image/ }));
    await userEvent.paste('https://web/live');
    expect(await screen.findByText('db-1 moves to xen2, with 40 GiB of disks')).toBeTruthy();
    await userEvent.click(screen.getByRole('button', { name: 'Upgrade' }));
    await waitFor(() => expect(shown.calls('host.upgrade').at(-1)).toEqual({ host: 'h1', url: 'https://web/live', evacuate: true, move_disks: true }));
  });

  it('go along in an update of a pool, there and back unless VMs stay', async () => {
    const planned = (bytes: number) => ({ plan: { hosts: [{ place: 1, host: 'h1', name: 'xen1', reason: '1 VM leaves it first', vms: [], disk_bytes: bytes }], left_out: [] } });
    const answers: Answers = { 'pool.update': (params) => (params.dry_run ? planned(params.move_disks ? 40 * GIB : 0) : { task: 't' }) };
    const shown = await show(<UpdatePool pool={pool} close={close} />, { answers });
    expect(await screen.findByText(/and back afterwards/)).toBeTruthy();
    await take();
    expect(await screen.findByText(/Disks that are copied: 40 GiB/)).toBeTruthy();
    await userEvent.click(screen.getByRole('checkbox', { name: 'Leave VMs where they went to' }));
    expect(screen.queryByText(/and back afterwards/)).toBeNull();
    expect(await serious()).toEqual([]);
    await userEvent.click(screen.getByRole('button', { name: 'Update' }));
    await waitFor(() => expect(shown.calls('pool.update').at(-1)).toEqual({ pool: 'p', what: { kind: 'packages' }, at_once: 1, vms_stay: true, move_disks: true }));
  });
});
