// Tags, snapshots and backups of many VMs: what is asked for first, and what each is asked to do.

import { screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { VmRow } from '../../api/generated';
import { page, serious, show, type Answers } from '../../testing/show';
import { tagged } from './ManyVms';
import Vms from './Vms';

const vm = (id: string, tags: string[], managed = true) => ({ id, name: id, tags, managed, power: 'running', addresses: [], memory: 1, vcpus: 1, kind: 'pvh' }) as unknown as VmRow;
const answers: Answers = {
  'vm.list': page([vm('web-1', ['prod']), vm('web-2', ['dev', 'prod']), vm('other', [], false)]),
  'vm.update': { task: 't' } as never,
  'snapshot.create': { task: 't' } as never,
  'backup.create': { task: 't' } as never,
  'repository.list': page([{ id: 'r', name: 'main' } as never]),
};

const choose = async (name: string) => {
  await userEvent.click(await screen.findByRole('checkbox', { name: 'Select all that are shown' }));
  await userEvent.click(screen.getByRole('button', { name: 'With the selected' }));
  await userEvent.click(await screen.findByRole('menuitem', { name: new RegExp(`^${name}`) }));
  return within(await screen.findByRole('dialog'));
};

describe('many VMs', () => {
  it('get tags and lose some, each what differs', async () => {
    const shown = await show(<Vms />, { answers });
    const dialog = await choose('Change tags');
    expect(dialog.getByRole('button', { name: 'Change' }).hasAttribute('disabled')).toBe(true);
    await userEvent.type(dialog.getByLabelText('Add these tags'), 'prod');
    expect(dialog.getAllByText('Left out: Its tags are that already.')).toHaveLength(2);
    await userEvent.type(dialog.getByLabelText('Take these away'), 'dev');
    expect(await serious()).toEqual([]);
    await userEvent.click(dialog.getByRole('button', { name: 'Change' }));
    await waitFor(() => expect(shown.calls('vm.update')).toEqual([{ vm: 'web-2', tags: ['prod'] }]));
    expect(dialog.queryByLabelText('Add these tags')).toBeNull();
  });

  it('get a snapshot each, of one name', async () => {
    const shown = await show(<Vms />, { answers });
    const dialog = await choose('Take a snapshot');
    expect(dialog.getAllByText('Left out: Give a name first.')).toHaveLength(2);
    await userEvent.type(dialog.getByLabelText(/^Name/), 'before');
    await userEvent.click(dialog.getByRole('button', { name: 'Take' }));
    await waitFor(() => expect(shown.calls('snapshot.create')).toEqual([{ vm: 'web-1', name: 'before' }, { vm: 'web-2', name: 'before' }]));
  });

  it('are backed up into the only repository there is', async () => {
    const shown = await show(<Vms />, { answers });
    const dialog = await choose('Back up now');
    await dialog.findByRole('checkbox', { name: 'main', checked: true });
    await userEvent.click(dialog.getByRole('button', { name: 'Back up' }));
    await waitFor(() => expect(shown.calls('backup.create')).toHaveLength(2));
    expect(shown.calls('backup.create')[0]).toEqual({ vm: 'web-1', repositories: ['r'] });
  });

  it('have tags once, in order', () => {
    expect(tagged(['b', 'a'], ['c', 'a'], ['b'])).toEqual(['a', 'c']);
  });
});
