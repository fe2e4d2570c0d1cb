// An update of a pool as its page has it: how far, and paused. Its answer names the task that goes on, which is no end.

import { screen, waitFor } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { Pool, Task } from '../../api/generated';
import { serious, show, somebody, type Answers } from '../../testing/show';
import { Updating } from './Updating';

const pool = { id: 'p', name: 'east' } as Pool;
const task = { id: 't', title: 'Update east', method: 'pool.update', status: 'running', percent: 40, message: '2 of 5 hosts', steps: [], subjects: [], user_name: '', created: '2026-01-01T00:00:00Z' } as unknown as Task;

describe('the update of a pool', () => {
  it('is shown as far as it is, and paused', async () => {
    let paused = false;
    const told = () => ({ pool: 'p', task: 't', paused });
    const answers: Answers = { 'pool.update_status': told, 'task.get': task, 'pool.pause_update': () => ((paused = true), told()) };
    await show(<Updating pool={pool} />, { answers });
    expect(await screen.findByText('2 of 5 hosts')).toBeTruthy();
    expect(await serious()).toEqual([]);
    await userEvent.click(screen.getByRole('button', { name: 'Pause the update' }));
    // At once, and not when the update is over.
    expect(await screen.findByText(/Done: Pause the update/)).toBeTruthy();
    expect(await screen.findByText('Paused: no further host is begun')).toBeTruthy();
    expect(screen.getByRole('button', { name: 'Go on with the update' })).toBeTruthy();
  });

  it('is not paused by who may not', async () => {
    await show(<Updating pool={pool} />, { answers: { 'pool.update_status': { pool: 'p', task: 't', paused: false }, 'task.get': task }, user: somebody('viewer') });
    expect((await screen.findByRole('button', { name: 'Pause the update' })).getAttribute('aria-disabled')).toBe('true');
  });

  it('is nothing where nothing is updated', async () => {
    const shown = await show(<Updating pool={pool} />, { answers: { 'pool.update_status': { pool: 'p', paused: false } } });
    await waitFor(() => expect(shown.calls('pool.update_status')).not.toHaveLength(0));
    // What is answered is shown by then.
    await new Promise((go) => setTimeout(go, 50));
    expect(screen.queryByText('Its hosts are being updated')).toBeNull();
    expect(shown.calls('task.get')).toEqual([]);
  });
});
