// The pages of single things: each shows what it is about, who may not do something is told why, and axe finds nothing
// serious.

import { screen, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { Host, Network, Sr, Template } from '../api/generated';
import { page, serious, show, somebody, type Answers } from '../testing/show';
import HostPage from './host/HostPage';
import NetworkPage from './network/NetworkPage';
import SrPage from './sr/SrPage';
import TemplatePage from './template/TemplatePage';

const topology = { cpus: 8, nodes: 1, cores_per_socket: 4, threads_per_core: 2 };
const facts = { memory_total: 8192, memory_free: 4096, memory_dom0: 1024, cpu_model: 'Xeon', topology, xen: { major: 4, minor: 20, extra: '' }, scheduler: 'credit2', capabilities: ['pvh'], bridges: [{ name: 'xenbr0', uplinks: ['eth0'], mtu: 1500 }] };
const host = { id: 'h', name: 'xen1', pool: 'p', address: 'xen1:8444', status: 'connected', maintenance: false, vms: 2, facts } as unknown as Host;
const sr = { id: 's', name: 'nas', pool: 'p', hosts: ['h'], vdis: 3, spec: { kind: 'nfs', server: 'nas', export: '/vms' }, space: { total: 100, free: 40, physical: 60, promised: 90 } } as unknown as Sr;
const network = { id: 'n', name: 'lan', pool: 'p', bridge: 'xenbr0', description: 'the office' } as Network;
const template = { id: 't', name: 'debian', pool: 'p', host: 'h', ready: true, description: '', platform: { kind: 'hvm', firmware: 'uefi' }, vcpus: { online: 2, max: 2 }, memory: { target: 1024, max: 1024 }, disks: [{ device: 'xvda', sr: 's', vdi: 'd', size: 1 << 30 }], created: '2026-01-01T00:00:00Z' } as unknown as Template;

const answers: Answers = {
  'host.get': host,
  'host.list': page([host]),
  'host.power_control': { host: 'h' },
  'pool.list': page([{ id: 'p', name: 'east', description: '', created: '' } as never]),
  'network.list': page([network]),
  'vm.count': ({ filter }) => ({ total: filter === 'network_id:n' ? 3 : 0, running: 1 }),
  'network.status': { network: 'n', hosts: [{ host: 'h', name: 'xen1', state: 'realised' }] },
  'sr.list': page([sr]),
  'sr.get': sr,
  'template.get': template,
  'alarm.list': page([]),
};

describe('the page', () => {
  it('of a host says what it has, and where its power is switched to who may switch it', async () => {
    await show(<HostPage />, { answers, at: '/hosts/h', route: '/hosts/:host' });
    expect(await screen.findByRole('heading', { name: 'xen1', level: 1 })).toBeTruthy();
    expect(screen.getByText('Xeon')).toBeTruthy();
    expect(await screen.findByRole('link', { name: 'nas' })).toBeTruthy();
    expect(await screen.findByText('Say where its power is switched')).toBeTruthy();
    expect(await serious()).toEqual([]);
  });

  it('of a host says why a viewer may not work on it', async () => {
    await show(<HostPage />, { answers, user: somebody('viewer'), at: '/hosts/h', route: '/hosts/:host' });
    await userEvent.click(await screen.findByRole('button', { name: 'Actions for xen1' }));
    const item = await screen.findByRole('menuitem', { name: /^Change the management interface/ });
    expect(item.getAttribute('aria-disabled')).toBe('true');
    expect(within(item).getByText('This needs the role admin.')).toBeTruthy();
    expect(screen.queryByText('Power control')).toBeNull();
  });

  it('of storage says how full it is and who has it', async () => {
    await show(<SrPage />, { answers, at: '/storage/s', route: '/storage/:sr' });
    expect(await screen.findByRole('heading', { name: 'nas', level: 1 })).toBeTruthy();
    expect(screen.getByText('Promised to disks')).toBeTruthy();
    expect(await screen.findByRole('link', { name: 'xen1' })).toBeTruthy();
    expect(await serious()).toEqual([]);
  });

  it('of a network says on which hosts it is', async () => {
    await show(<NetworkPage />, { answers, at: '/networks/n', route: '/networks/:network' });
    expect(await screen.findByText('Realised')).toBeTruthy();
    expect(screen.getByText('the office')).toBeTruthy();
    expect((await screen.findByRole('link', { name: '3 VMs' })).getAttribute('href')).toBe('/vms?q=network_id%3An');
    expect(screen.getByRole('link', { name: 'What is hit when it fails' }).getAttribute('href')).toBe('/topology?fails=n');
    expect(await serious()).toEqual([]);
  });

  it('of a network asks for its name before it is deleted', async () => {
    const shown = await show(<NetworkPage />, { answers: { ...answers, 'network.delete': {} }, at: '/networks/n', route: '/networks/:network' });
    await userEvent.click(await screen.findByRole('button', { name: 'Actions for lan' }));
    await userEvent.click(await screen.findByRole('menuitem', { name: /^Delete/ }));
    await userEvent.type(await screen.findByRole('textbox', { name: /^Type lan to go on/ }), 'lan');
    await userEvent.click(screen.getByRole('button', { name: 'Delete' }));
    expect(shown.calls('network.delete')).toEqual([{ network: 'n' }]);
    expect(shown.address()).toBe('/networks');
  });

  it('of a template says what a VM of it gets', async () => {
    await show(<TemplatePage />, { answers, at: '/templates/t', route: '/templates/:template' });
    expect(await screen.findByRole('heading', { name: 'debian', level: 1 })).toBeTruthy();
    expect(screen.getByText('UEFI')).toBeTruthy();
    expect(await screen.findByRole('link', { name: 'nas' })).toBeTruthy();
    expect(await serious()).toEqual([]);
  });
});
