// A VM moves: where to, how, and what is copied is known before.

import { fireEvent, screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { Vm } from '../../api/generated';
import { page, Refusal, serious, show, type Answers } from '../../testing/show';
import { MoveVm } from './MoveVm';

const vm = { id: 'v', name: 'db-1', host: 'h1', pool: 'p', power: 'running' } as Vm;
const sr = (id: string, hosts: string[], spec?: object) => ({ id, name: id, pool: 'p', hosts, spec, vdis: 0 });
const along = { disks: [{ name: 'data', size: 40 * 1024 ** 3, from_sr: 'a', to_sr: 'fast' }], copy: { expected: 'about 400 s' }, stands: 'while what it wrote last goes' };
const answers: Answers = {
  'host.list': page([{ id: 'h1', name: 'xen1' }, { id: 'h2', name: 'xen2' }] as never[]),
  'pool.list': page([]),
  'network.list': page([]),
  'sr.list': page([sr('fast', ['h2'], { kind: 'lvm-thin' }), sr('far', ['h3'], { kind: 'nfs' }), sr('own', ['h2'])] as never[]),
  'vm.migrate': (params) => {
    if (!params.dry_run) return { task: 't' };
    if (!params.move_disks) throw new Refusal('no host can take it', 'no-placement');
    return { plan: { to: 'h2', how: 'as it runs', along } };
  },
};

describe('moving a VM', () => {
  it('is refused before it is asked for, and copies disks where that is said', async () => {
    const shown = await show(<MoveVm vm={vm} close={() => undefined} />, { answers });
    const dialog = within(await screen.findByRole('dialog'));
    expect(await dialog.findByText('no host can take it')).toBeTruthy();
    await userEvent.click(dialog.getByRole('checkbox', { name: /^Copy the disks/ }));
    expect(await dialog.findByText('data, 40 GiB, to fast')).toBeTruthy();
    expect(dialog.getByText('about 400 s')).toBeTruthy();
    expect(await serious()).toEqual([]);
    // Only storage that the chosen host has.
    expect(dialog.queryByLabelText('Where to')).toBeNull();
    await userEvent.selectOptions(dialog.getByLabelText('Host'), 'xen2');
    const where = await dialog.findByLabelText('Where to');
    expect([...where.querySelectorAll('option')].map(({ textContent }) => textContent)).toEqual(['The host’s own', 'fast']);
    await userEvent.selectOptions(where, 'fast');
    fireEvent.change(dialog.getByRole('spinbutton', { name: 'Copy at most (MiB/s)' }), { target: { value: '50' } });
    await userEvent.click(dialog.getByRole('button', { name: 'Move' }));
    await waitFor(() => expect(shown.calls('vm.migrate').at(-1)).toEqual({ vm: 'v', host: 'h2', move_disks: true, sr: 'fast', bandwidth: 50 * 1024 ** 2 }));
  });
});
