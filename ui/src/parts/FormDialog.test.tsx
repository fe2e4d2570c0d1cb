// A form that is refused stays, and says why in it.

import { screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { useState } from 'react';
import { describe, expect, it } from 'vitest';
import { Refusal, serious, show } from '../testing/show';
import { TextField } from './fields';
import { FormDialog } from './FormDialog';

function Dialog() {
  const [open, setOpen] = useState(true);
  const [name, setName] = useState('lab');
  if (!open) return <p>closed</p>;
  return (
    <FormDialog act={{ method: 'pool.create', params: { name }, title: 'Create a pool' }} button="Create" ready={name !== ''} close={() => setOpen(false)}>
      <TextField id="name" label="Name" value={name} set={setName} required />
    </FormDialog>
  );
}

describe('a form in a dialog', () => {
  it('says in it why it was refused, and goes on', async () => {
    const create = ({ name }: { name: string }) => {
      if (name === 'lab') throw new Refusal('there is a pool "lab" already', 'conflict');
      return { id: 'p', name };
    };
    await show(<Dialog />, { answers: { 'pool.create': create } });
    const dialog = within(await screen.findByRole('dialog'));
    await userEvent.click(dialog.getByRole('button', { name: 'Create' }));
    const said = within(await dialog.findByRole('alert'));
    expect(said.getByText('Not done: Create a pool')).toBeTruthy();
    expect(said.getByText('there is a pool "lab" already')).toBeTruthy();
    expect(said.getByText('Choose another name or address, or reload and try again.')).toBeTruthy();
    expect(screen.getAllByText('Not done: Create a pool')).toHaveLength(1);
    expect(await serious()).toEqual([]);
    await userEvent.type(dialog.getByRole('textbox', { name: 'Name' }), '2');
    await userEvent.click(dialog.getByRole('button', { name: 'Create' }));
    expect(await screen.findByText('closed')).toBeTruthy();
    await waitFor(() => expect(screen.getByText('Done: Create a pool')).toBeTruthy());
  });
});
