// Whoever works with the keys is where they were when a dialog of a menu closes.

import { screen, waitFor } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import { show } from '../testing/show';
import { VerbMenu, type Verb } from './VerbMenu';

const verbs: Verb[] = [
  { label: 'Pause', act: { method: 'vm.pause', params: { vm: 'v' }, title: 'Pause web-1' } },
  { label: 'Delete', danger: true, act: { method: 'pool.delete', params: { pool: 'p' }, title: 'Delete it' }, question: { text: 'It is gone then.', button: 'Delete' } },
];

const toggle = () => screen.getByRole('button', { name: 'Actions for web-1' });

describe('a menu', () => {
  it('has the focus in its first entry when it opens', async () => {
    await show(<VerbMenu name="web-1" verbs={verbs} />);
    await userEvent.click(toggle());
    await waitFor(() => expect(document.activeElement).toBe(screen.getByRole('menuitem', { name: 'Pause' })));
  });

  it.each([
    ['a question', { name: 'Delete' }, 'Cancel'],
    ['a command to copy', { name: 'Copy as a command: Pause' }, 'Close'],
  ])('has it back behind %s', async (_what, item, end) => {
    await show(<VerbMenu name="web-1" verbs={verbs} />);
    await userEvent.click(toggle());
    await userEvent.click(await screen.findByRole('menuitem', item));
    await screen.findByRole('dialog');
    const ends = screen.getAllByRole('button', { name: end });
    await userEvent.click(ends.at(-1) as HTMLElement);
    await waitFor(() => expect(screen.queryByRole('dialog')).toBeNull());
    await waitFor(() => expect(document.activeElement).toBe(toggle()));
  });
});
