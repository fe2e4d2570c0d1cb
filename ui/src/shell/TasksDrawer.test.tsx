// The keys go into the drawer, and out of it to where they came from.

import { screen } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { useState } from 'react';
import { describe, expect, it } from 'vitest';
import { serious, show } from '../testing/show';
import { enterTasks, TASKS_BUTTON, TasksDrawer } from './TasksDrawer';

function Frame() {
  const [open, setOpen] = useState(true);
  return (
    <>
      <button id={TASKS_BUTTON}>Tasks</button>
      {open && <TasksDrawer close={() => setOpen(false)} />}
    </>
  );
}

describe('the drawer of tasks', () => {
  it.each([
    ['Escape', () => userEvent.keyboard('{Escape}')],
    ['its button', () => userEvent.keyboard('{Enter}')],
  ])('is entered, and left by %s', async (_how, leave) => {
    await show(<Frame />);
    expect(await serious()).toEqual([]);
    enterTasks();
    expect(document.activeElement).toBe(screen.getByRole('button', { name: 'Close' }));
    await leave();
    expect(screen.queryByText('Nothing runs')).toBeNull();
    expect(document.activeElement).toBe(document.getElementById(TASKS_BUTTON));
  });
});
