// What is hit when something fails: in the address, in a sentence, in the picture, and as a table.

import { screen, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { Host, Network, Sr, Vdi, VmRow } from '../../api/generated';
import { page, serious, show, type Answers } from '../../testing/show';
import Topology from './Topology';

const vm = (id: string, host: string, power: VmRow['power']) => ({ id, name: id, host, host_name: host, power, managed: true, tags: [], addresses: [] }) as unknown as VmRow;
const host = (id: string) => ({ id, name: id, pool: 'p', status: 'connected', maintenance: false, vms: 1, facts: { bridges: [{ name: 'xenbr0', uplinks: [] }] } }) as unknown as Host;
const web2 = vm('web-2', 'xen2', 'running');
const answers: Answers = {
  'pool.list': page([{ id: 'p', name: 'east', description: '', created: '' } as never]),
  'host.list': page([host('xen1'), host('xen2')]),
  'network.list': page([{ id: 'n', name: 'lan', pool: 'p', bridge: 'xenbr0' } as Network]),
  'sr.list': page([{ id: 's', name: 'local-xen1', pool: 'p', hosts: ['xen1'], vdis: 1 } as unknown as Sr]),
  'vdi.list': page([{ id: 'd', attached_to: 'web-1', sr: 's' } as Vdi]),
  'vm.list': ({ filter }) => page(filter === 'network_id:n' ? [web2] : [vm('mail', 'xen1', 'stopped'), vm('web-1', 'xen1', 'running'), web2]),
};

describe('the topology', () => {
  it('says what a host takes with it, and keeps that in the address', async () => {
    const shown = await show(<Topology />, { answers, at: '/topology' });
    await userEvent.click(await screen.findByRole('button', { name: 'xen1' }));
    expect(await screen.findByText('If xen1 fails: 2 VMs are hit, 1 of them run now')).toBeTruthy();
    expect(shown.address()).toBe('/topology?fails=xen1');
    await userEvent.click(screen.getByRole('button', { name: 'What is hit, as a table' }));
    expect(shown.address()).toBe('/topology?fails=xen1&look=table');
    const table = within(screen.getByRole('grid', { name: 'What is hit, as a table' }));
    expect(table.getAllByRole('link').map(({ textContent }) => textContent)).toEqual(['xen1', 'local-xen1', 'web-1', 'mail']);
    expect(await serious()).toEqual([]);
  });

  it('says of a network which VMs are in it, wherever its bridge is', async () => {
    await show(<Topology />, { answers, at: '/topology?fails=n&look=table' });
    expect(await screen.findByText('If lan fails: 1 VM is hit; running now: 1')).toBeTruthy();
    const table = within(screen.getByRole('grid', { name: 'What is hit, as a table' }));
    expect(table.getAllByRole('link').map(({ textContent }) => textContent)).toEqual(['xen1', 'xen2', 'web-2']);
  });
});
