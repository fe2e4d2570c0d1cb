// Who may write a disk: told while somebody looks, and broken only by who says that the host is dead.

import { screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { Vdi, VdiLease } from '../../api/generated';
import { page, Refusal, serious, show, somebody, type Answers } from '../../testing/show';
import Disks from './Disks';
import { Lease } from './Lease';

const vdi = { id: 'd', name: 'data', size: 1, sr: 'nas', host: 'h1', attached_to: 'v' } as Vdi;
const lease: VdiLease = { host: 'h2', host_name: 'xen2.old', vm: { vm: 'v', name: 'db-1', run: 'r' } };
const answers: Answers = {
  'host.list': page([{ id: 'h2', name: 'xen2', status: 'unknown', maintenance: false }] as never[]),
  'sr.list': page([{ id: 'nas', name: 'nas', pool: 'p', hosts: ['h1', 'h2'], spec: { kind: 'nfs' } }, { id: 'own', name: 'own', pool: 'p', hosts: ['h1'] }] as never[]),
  'pool.list': page([]),
  'network.list': page([]),
  'vm.list': page([]),
  'vdi.list': page([vdi, { ...vdi, id: 'l', name: 'scratch', sr: 'own' }]),
  'vdi.get': { ...vdi, leased_to: lease },
  'vdi.break_lease': (params) => (params.dry_run ? { plan: { title: 'Break the lease of VDI data', held_by: lease, warning: 'make sure' } } : { vdi: 'd', was: lease, warning: 'make sure' }),
};
const close = () => undefined;

describe('the lease of a disk', () => {
  it('is broken with the name of the host that is dead, and of no other', async () => {
    const shown = await show(<Lease vdi={vdi} close={close} />, { answers });
    const dialog = within(await screen.findByRole('dialog'));
    expect((await dialog.findByRole('link', { name: 'xen2' })).getAttribute('href')).toBe('/hosts/h2');
    expect(dialog.getByText('Not heard')).toBeTruthy();
    expect(dialog.getByRole('link', { name: 'db-1' }).getAttribute('href')).toBe('/vms/v');
    expect(await serious()).toEqual([]);
    await waitFor(() => expect(dialog.getByRole('button', { name: /^Break the lease/ }).getAttribute('aria-disabled')).not.toBe('true'));
    await userEvent.click(dialog.getByRole('button', { name: /^Break the lease/ }));
    // The test keeps the first dialog open.
    const question = within((await screen.findByText(/^Another host may write the disk then\. If xen2 still writes it/)).closest('[role=dialog]') as HTMLElement);
    const go = question.getByRole('button', { name: 'Break the lease' });
    expect(go.hasAttribute('disabled')).toBe(true);
    await userEvent.type(question.getByRole('textbox', { name: /^Type xen2 to go on/ }), 'xen2');
    await userEvent.click(go);
    await waitFor(() => expect(shown.calls('vdi.break_lease').at(-1)).toEqual({ vdi: 'd', host: 'h2' }));
    expect(shown.calls('vdi.break_lease')[0]).toEqual({ vdi: 'd', host: 'h2', dry_run: true });
  });

  it('says before it is broken that it would be refused', async () => {
    const refuse = () => {
      throw new Refusal('xen2 is heard, and VM db-1 is there; stop the VM, which ends the lease');
    };
    await show(<Lease vdi={vdi} close={close} />, { answers: { ...answers, 'vdi.break_lease': refuse } });
    await waitFor(() => expect(screen.getByRole('button', { name: /^Break the lease/ }).getAttribute('aria-disabled')).not.toBe('true'));
    await userEvent.click(screen.getByRole('button', { name: /^Break the lease/ }));
    expect(await screen.findByText('It would be refused')).toBeTruthy();
    expect(screen.getByText(/^xen2 is heard, and VM db-1 is there/)).toBeTruthy();
  });

  it.each<[string, VdiLease | undefined, RegExp]>([
    ['nobody', undefined, /^No host has it/],
    ['a host that was removed', { ...lease, host: 'gone' }, /^xen2\.old, which was removed$/],
    ['the host itself', { ...lease, vm: null }, /^the host itself, which works on the disk$/],
    ['a VM that moves', { ...lease, vm: { vm: 'v', name: 'db-1', run: 'r', sent: true } }, /^Nobody writes until/],
  ])('is that of %s', async (_who, leased_to, words) => {
    await show(<Lease vdi={vdi} close={close} />, { answers: { ...answers, 'vdi.get': { ...vdi, leased_to } } });
    expect(await screen.findByText(words)).toBeTruthy();
    expect(await serious()).toEqual([]);
  });

  it('is not broken by who may not', async () => {
    await show(<Lease vdi={vdi} close={close} />, { answers, user: somebody('operator') });
    const button = await screen.findByRole('button', { name: /^Break the lease/ });
    expect(button.getAttribute('aria-disabled')).toBe('true');
    expect(button.getAttribute('aria-description')).toBe('This needs the role admin.');
  });

  it('is looked at from the list, where several hosts reach the disk, and read again when the disk changes', async () => {
    let now: VdiLease | undefined = lease;
    const shown = await show(<Disks />, { answers: { ...answers, 'vdi.get': () => ({ ...vdi, leased_to: now }) } });
    await userEvent.click(await screen.findByRole('button', { name: 'Actions for scratch' }));
    const own = await screen.findByRole('menuitem', { name: /^Who may write it/ });
    await waitFor(() => expect(within(own).getByText('Its storage is one host’s: no other writes it.')).toBeTruthy());
    await userEvent.keyboard('{Escape}');
    await userEvent.click(screen.getByRole('button', { name: 'Actions for data' }));
    await userEvent.click(await screen.findByRole('menuitem', { name: /^Who may write it/ }));
    expect(await screen.findByRole('link', { name: 'xen2' })).toBeTruthy();
    now = undefined;
    shown.tell('vdi.subscribe', { kind: 'changed', value: { ...vdi, attached_to: null } });
    expect(await screen.findByText(/^No host has it/)).toBeTruthy();
  });
});
