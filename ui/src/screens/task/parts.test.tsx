// What can be done about a task: what makes sense in its state, and each as a command where it stands alone.

import { screen } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { Task } from '../../api/generated';
import { show, somebody } from '../../testing/show';
import { TaskVerbs } from './parts';

const task = (status: Task['status']) => ({ id: 't', title: 'Start web-1', status, steps: [], subjects: [] }) as unknown as Task;

describe('the verbs of a task', () => {
  it('are copied as commands on its page', async () => {
    await show(<TaskVerbs task={task('parked')} large />);
    await userEvent.click(await screen.findByRole('button', { name: 'Copy as a command: Retry' }));
    expect(await screen.findByDisplayValue('xenith task retry t')).toBeTruthy();
  });

  it('ask before a task is abandoned', async () => {
    const shown = await show(<TaskVerbs task={task('parked')} />, { answers: { 'task.abandon': {} as never } });
    await userEvent.click(await screen.findByRole('button', { name: 'Abandon' }));
    expect(shown.calls('task.abandon')).toEqual([]);
    const [, go] = await screen.findAllByRole('button', { name: 'Abandon', hidden: true });
    await userEvent.click(go as HTMLElement);
    expect(shown.calls('task.abandon')).toEqual([{ task: 't' }]);
  });

  it('are none where it is over', async () => {
    await show(<TaskVerbs task={task('done')} large />);
    expect(screen.queryByRole('button')).toBeNull();
  });

  it('say why not', async () => {
    await show(<TaskVerbs task={task('running')} large />, { user: somebody('viewer') });
    expect((await screen.findByRole('button', { name: 'Cancel' })).getAttribute('aria-disabled')).toBe('true');
  });
});
