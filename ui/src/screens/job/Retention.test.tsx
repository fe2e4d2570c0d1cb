// What the rules of a job keep is worked out from all backups of the VM that is looked at, however many others there are.

import { screen, waitFor } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { Backup, BackupJob } from '../../api/generated';
import { page, serious, show, type Answers } from '../../testing/show';
import { Retention } from './Retention';

const job = { id: 'j', name: 'nightly', repositories: ['r'], keep: { daily: 2 } } as unknown as BackupJob;
const backup = (vm: string, day: number, repository = 'r') => ({ id: `${vm}-${day}`, vm: `id of ${vm}`, vm_name: vm, repository, repository_name: repository === 'r' ? 'main' : 'other', created: `2026-01-0${day}T02:00:00Z`, held: false, disks: [] }) as unknown as Backup;

/** The newest backups are those of `web-1`; `db-1` is behind them. */
const answers: Answers = {
  'backup.list': ({ vm, filter, cursor }) => {
    if (vm === 'web-1') return cursor ? page([backup('web-1', 1)]) : { items: [3, 2].map((day) => backup('web-1', day)), total: 3, next: 'more' };
    if (vm) return page([backup(vm, 1)]);
    return filter ? page([backup('db-1', 1)]) : { items: [backup('web-1', 3), backup('else-1', 3, 'x')], total: 4000, next: 'more' };
  },
};

describe('what a job keeps', () => {
  it('is worked out from every page of the VM’s backups', async () => {
    const shown = await show(<Retention job={job} />, { answers, at: '/jobs/j?tab=keeps' });
    expect(await screen.findByText('The rules keep 2 of 3; the others go at the next run. Nothing is done from here.')).toBeTruthy();
    expect(screen.getByText('goes')).toBeTruthy();
    expect(shown.calls('backup.list').at(-1)).toMatchObject({ vm: 'web-1', repository: 'r', cursor: 'more' });
    expect(screen.queryByRole('option', { name: /else-1/ })).toBeNull();
    expect(await serious()).toEqual([]);
  });

  it('is found of a VM that is not among the newest', async () => {
    const shown = await show(<Retention job={job} />, { answers, at: '/jobs/j?tab=keeps' });
    await userEvent.type(await screen.findByRole('textbox', { name: 'Find a VM' }), 'db{Enter}');
    expect(await screen.findByRole('option', { name: 'db-1 · main' })).toBeTruthy();
    await waitFor(() => expect(shown.calls('backup.list').at(-1)).toMatchObject({ vm: 'db-1', repository: 'r' }));
    expect(shown.address()).toContain('find=db');
  });

  it('is worked out of what is no VM, too: the orchestrator itself', async () => {
    const own = (day: number, name = 'orchestrator-1') => ({ ...backup(name, day), vm: null });
    const all = [own(2), own(1), own(3, 'orchestrator-12'), backup('orchestrator-1', 3)];
    const answer: Answers = { 'backup.list': ({ vm, filter }) => page(vm ? [] : filter === 'vm:"orchestrator-1"' ? all : all.slice(0, 2)) };
    await show(<Retention job={job} />, { answers: answer, at: '/jobs/j?tab=keeps' });
    expect(await screen.findByText('The rules keep 2 of 2; the others go at the next run. Nothing is done from here.')).toBeTruthy();
  });

  it('says when there is nothing yet', async () => {
    await show(<Retention job={job} />, { answers: { 'backup.list': page([]) } });
    expect(await screen.findByText('No backups in its repositories yet')).toBeTruthy();
  });
});
