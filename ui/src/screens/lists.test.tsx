// Lists of what happened and was done: their filter stands in the address and is the API's, and says what could come next.

import { fireEvent, screen, waitFor } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { Task } from '../api/generated';
import { page, serious, show, somebody, type Answers } from '../testing/show';
import Audit from './audit/Audit';
import Events from './event/Events';
import { EventsOf } from './event/EventsOf';
import { RunList } from './job/RunList';
import { TaskList } from './task/TaskList';
import TaskPage from './task/TaskPage';
import Users from './user/Users';

const TASK: Task = {
  id: 'task-1',
  method: 'host.set_address',
  title: 'Look for xen1 elsewhere',
  subjects: [],
  user: 'u',
  user_name: 'anna',
  status: 'done',
  percent: 100,
  message: null,
  steps: [],
  created: '2026-01-01T00:00:00Z',
  ended: '2026-01-01T00:00:09Z',
};

const answers: Answers = {
  'event.list': page([{ id: 'e', at: '2026-01-01T00:00:00Z', kind: 'host.lost', severity: 'error' as const, subject: 'host/h', message: 'xen1 is not heard' }]),
  'task.list': page([]),
  'backup_run.list': page([]),
  'filter.complete': { from: 0, candidates: [{ text: 'severity:', hint: 'how bad it is' }] },
};

describe('lists', () => {
  it('of events are filtered by the API, with what could come next', async () => {
    const shown = await show(<Events />, { answers, at: '/events?q=kind:host' });
    expect(await screen.findByText('xen1 is not heard')).toBeTruthy();
    expect(shown.calls('event.list')[0]).toMatchObject({ filter: 'kind:host' });
    const bar = screen.getByRole('combobox', { name: 'Filter events' });
    await userEvent.clear(bar);
    await userEvent.type(bar, 'sev');
    await screen.findByRole('option', { name: /^severity:/ });
    expect(shown.calls('filter.complete').at(-1)).toEqual({ noun: 'event', text: 'sev' });
    fireEvent.keyDown(bar, { key: 'ArrowDown' });
    expect(bar.getAttribute('aria-activedescendant')).toBe(screen.getByRole('option', { name: /^severity:/ }).id);
    fireEvent.keyDown(bar, { key: 'Enter' });
    expect((bar as HTMLInputElement).value).toBe('severity:');
    expect(await serious()).toEqual([]);
  });

  it('of events about one thing ask for those alone', async () => {
    const shown = await show(<EventsOf subject="vm/v" />, { answers });
    await waitFor(() => expect(shown.calls('event.list')[0]).toMatchObject({ filter: 'subject:vm/v' }));
  });

  it('of tasks are cleared of both filters, and of nothing else', async () => {
    const shown = await show(<TaskList vm="s" />, { answers, at: '/standbys/s?tab=tasks&active=yes&q=status:parked' });
    await waitFor(() => expect(shown.calls('task.list')[0]).toMatchObject({ vm: 's', active: true, filter: 'status:parked' }));
    await screen.findByText('No entry passes the filter.');
    // The first empties the bar alone.
    await userEvent.click(screen.getAllByRole('button', { name: 'Clear the filter' })[1] as HTMLElement);
    expect(shown.address()).toBe('/standbys/s?tab=tasks');
  });

  it('of tasks say who began each', async () => {
    await show(<TaskList />, { answers: { ...answers, 'task.list': page([TASK]) }, at: '/tasks' });
    expect(await screen.findByText('anna')).toBeTruthy();
  });

  it('the page of a task says who began it', async () => {
    const names: Answers = { 'host.list': page([]), 'pool.list': page([]), 'network.list': page([]) };
    await show(<TaskPage />, { answers: { 'task.get': TASK, ...names }, at: '/tasks/task-1', route: '/tasks/:task' });
    expect(await screen.findByText('anna')).toBeTruthy();
  });

  it('of runs are filtered, too', async () => {
    const shown = await show(<RunList />, { answers, at: '/runs?q=status:failed' });
    await waitFor(() => expect(shown.calls('backup_run.list')[0]).toMatchObject({ filter: 'status:failed' }));
  });

  it('of the audit log go on where a page ends before it has found anything', async () => {
    const record = { id: 'a', sequence: 7, at: '2026-01-01T00:00:00Z', phase: 'failed' as const, user_name: 'anna', from: '10.0.0.9', method: 'vm.delete', params: {}, previous: '', hash: '' };
    const list = ({ cursor }: { cursor?: string | null }) => (cursor ? page([record]) : { items: [], total: 0, next: '20000' });
    const shown = await show(<Audit />, { answers: { ...answers, 'audit.list': list }, at: '/audit?q=phase:failed' });
    expect(await screen.findByText('vm.delete')).toBeTruthy();
    expect(shown.calls('audit.list').map(({ cursor, filter }) => [cursor, filter])).toEqual([[undefined, 'phase:failed'], ['20000', 'phase:failed']]);
  });

  it('of users say who has a second factor, which an admin turns off for others alone', async () => {
    const user = (id: string, name: string) => ({ ...somebody(), id, name, totp: true });
    const shown = await show(<Users />, { answers: { ...answers, 'user.list': page([user('u', 'dora'), user('a', 'anna')]), 'role.list': page([]), 'user.totp_reset': somebody() }, at: '/users?q=totp:yes' });
    await userEvent.click(await screen.findByRole('button', { name: 'Actions for anna' }));
    await userEvent.click(await screen.findByRole('menuitem', { name: /^Turn two-factor sign-in off/ }));
    await userEvent.click(await screen.findByRole('button', { name: 'Turn off' }));
    await waitFor(() => expect(shown.calls('user.totp_reset')).toEqual([{ user: 'a' }]));
    expect(shown.calls('user.list')[0]).toMatchObject({ filter: 'totp:yes' });
    await userEvent.click(await screen.findByRole('button', { name: 'Actions for dora' }));
    expect(await screen.findByText('Turn off your own on the page “My account”.')).toBeTruthy();
  });
});
