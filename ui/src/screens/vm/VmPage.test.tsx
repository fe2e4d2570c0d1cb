// The page of a VM as a whole: what stands on it, what changes by itself, and what it says where nothing can be done.

import { screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { User, Vm, VmRow } from '../../api/generated';
import { page, Refusal, serious, show, somebody, type Answers } from '../../testing/show';
import VmPage from './VmPage';

const spec = { name: 'db-1', platform: { kind: 'hvm', firmware: 'uefi' }, vcpus: { online: 2, max: 4 }, memory: { target: 2048, max: 4096 }, disks: [{ device: 'xvda', vdi: 'd' }], nics: [], graphics: 'vnc' };
const observed = { vm: 'v', name: 'db-1', power: 'running', memory: 2048, vcpus_online: 2, cpu_time_ns: 90e9, started: '2026-01-01T00:00:00Z', domid: 7, guest: { os: 'Debian 13', addresses: ['10.0.0.7'] } };
const vm = { id: 'v', name: 'db-1', pool: 'p', host: 'h', managed: true, power: 'running', description: 'of the shop', tags: ['prod'], pending_restart: ['memory'], created: '2026-01-01T00:00:00Z', spec, observed } as unknown as Vm;
const alarm = { id: 'v', of: 'vm', name: 'db-1', rule: 'r', rule_name: 'busy', message: 'it is busy', severity: 'warning', silenced: false, since: '2026-01-01T00:00:00Z' };

const answers: Answers = {
  'vm.get': vm,
  'host.list': page([{ id: 'h', name: 'xen1' }] as never[]),
  'pool.list': page([{ id: 'p', name: 'lab' }] as never[]),
  'network.list': page([]),
  'sr.list': page([{ id: 's', name: 'nas' }] as never[]),
  'ha.show': { pool: 'p', hosts: [], priorities: [] },
  'alarm.list': page([alarm, { ...alarm, id: 'w', message: 'another of that name' }] as never[]),
  'metrics.list': [],
  'vdi.list': page([{ id: 'd', name: 'db-1-root', sr: 's', size: 1 << 30 }] as never[]),
  'vm.shutdown': { task: 't' },
  'vm.delete': { task: 't' },
};

const at = (path: string, { given = answers, user }: { given?: Answers; user?: User } = {}) => show(<VmPage />, { answers: given, user, at: path, route: path.split('/').length > 3 ? '/vms/:vm/:tab' : '/vms/:vm' });

describe('the page of a VM', () => {
  it('says what it is and does, what is wrong with it, and what waits', async () => {
    await at('/vms/v');
    expect(await screen.findByRole('heading', { name: 'db-1', level: 1 })).toBeTruthy();
    expect(screen.getByText('Running')).toBeTruthy();
    expect(screen.getByText('of the shop')).toBeTruthy();
    expect((await screen.findAllByRole('link', { name: 'xen1' })).map((link) => link.getAttribute('href'))).toEqual(['/hosts/h', '/hosts/h']);
    expect(screen.getByText('Debian 13')).toBeTruthy();
    expect(screen.getByText('2, up to 4')).toBeTruthy();
    expect(screen.getByText('Waits for the next start: memory')).toBeTruthy();
    expect(await screen.findByText('it is busy')).toBeTruthy();
    // The API finds alarms by a part of the name.
    expect(screen.queryByText('another of that name')).toBeNull();
    expect(screen.getByRole('tab', { name: 'Snapshots' }).getAttribute('href')).toBe('/vms/v/snapshots');
    expect(await serious()).toEqual([]);
  });

  it('does what is done most at once, and leads to its parts', async () => {
    const shown = await at('/vms/v');
    await userEvent.click(await screen.findByRole('button', { name: 'Shut down' }));
    expect(shown.calls('vm.shutdown')).toEqual([{ vm: 'v' }]);
    await userEvent.click(screen.getByRole('tab', { name: 'Disks' }));
    expect(shown.address()).toBe('/vms/v/disks');
  });

  it('has as a command what is done most, where it is done', async () => {
    const shown = await at('/vms/v');
    await userEvent.click(await screen.findByRole('button', { name: 'Copy as a command: Shut down' }));
    const dialog = within(await screen.findByRole('dialog'));
    expect(dialog.getByRole<HTMLInputElement>('textbox', { name: 'Command line' }).value).toBe('xenith vm shutdown v');
    expect(dialog.getByText(/"vm.shutdown"/)).toBeTruthy();
    expect(shown.calls('vm.shutdown')).toEqual([]);
    expect(await serious()).toEqual([]);
  });

  it('shows a part by its address', async () => {
    await at('/vms/v/disks');
    expect(await screen.findByText('db-1-root')).toBeTruthy();
    expect((await screen.findByRole('link', { name: 'nas' })).getAttribute('href')).toBe('/storage/s');
    expect(screen.queryByText('Debian 13')).toBeNull();
  });

  it('follows what changes', async () => {
    let power: Vm['power'] = 'running';
    const shown = await at('/vms/v', { given: { ...answers, 'vm.get': () => ({ ...vm, power }) } });
    await screen.findByText('Running');
    power = 'stopped';
    shown.tell('vm.subscribe', { kind: 'changed', value: { id: 'v' } as VmRow });
    expect(await screen.findByText('Stopped')).toBeTruthy();
    expect(screen.getByRole('button', { name: 'Start' })).toBeTruthy();
    expect(screen.queryByRole('button', { name: 'Shut down' })).toBeNull();
  });

  it('is left when the VM is deleted, whose name is typed', async () => {
    const shown = await at('/vms/v', { given: { ...answers, 'vm.get': { ...vm, power: 'stopped' } } });
    await userEvent.click(await screen.findByRole('button', { name: 'Actions for db-1' }));
    await userEvent.click(await screen.findByRole('menuitem', { name: /^Delete/ }));
    const dialog = within(await screen.findByRole('dialog'));
    expect(dialog.getByRole('button', { name: 'Delete' }).hasAttribute('disabled')).toBe(true);
    await userEvent.type(dialog.getByRole('textbox', { name: /^Type db-1 to go on/ }), 'db-1');
    await userEvent.click(dialog.getByRole('button', { name: 'Delete' }));
    await waitFor(() => expect(shown.address()).toBe('/vms'));
    expect(shown.calls('vm.delete').at(-1)).toEqual({ vm: 'v' });
  });

  it('says to a viewer why nothing can be done', async () => {
    await at('/vms/v', { user: somebody('viewer') });
    const button = await screen.findByRole('button', { name: 'Shut down' });
    expect(button.getAttribute('aria-disabled')).toBe('true');
    expect(button.getAttribute('aria-description')).toBe('This needs the role operator.');
    expect(screen.getByRole('button', { name: 'Change: Definition' }).getAttribute('aria-disabled')).toBe('true');
  });

  it('touches no domain that Xenith did not make', async () => {
    await at('/vms/v', { given: { ...answers, 'vm.get': { ...vm, managed: false, spec: null, pending_restart: [] } } });
    expect(await screen.findByText('Xenith did not make this domain')).toBeTruthy();
    expect(screen.getByText('There is no definition: Xenith did not make it.')).toBeTruthy();
    expect(screen.queryByRole('button', { name: 'Change: Hardware' })).toBeNull();
    expect(screen.getByRole('button', { name: 'Shut down' }).getAttribute('aria-description')).toBe('Xenith did not make this domain: it is only shown.');
  });

  it('is not shown as it was when it is gone', async () => {
    let gone = false;
    const read = () => {
      if (gone) throw new Refusal('there is no VM v', 'not-found');
      return vm;
    };
    const shown = await at('/vms/v', { given: { ...answers, 'vm.get': read } });
    await screen.findByText('Running');
    gone = true;
    shown.tell('vm.subscribe', { kind: 'removed', value: 'v' });
    expect(await screen.findByText('there is no VM v')).toBeTruthy();
    expect(screen.queryByText('Running')).toBeNull();
    expect(screen.getByRole('link', { name: 'Virtual machines' }).getAttribute('href')).toBe('/vms');
  });

  it('says what to do where there is none', async () => {
    const refused = () => {
      throw new Refusal('there is no VM v', 'not-found');
    };
    await at('/vms/v', { given: { ...answers, 'vm.get': refused } });
    expect(await screen.findByText(/there is no VM v/)).toBeTruthy();
    expect(screen.getByText('It may have been deleted meanwhile. Go back to the list.')).toBeTruthy();
  });
});
