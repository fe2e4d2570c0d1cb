// A button that cannot be pressed says which fields it waits for, as they are called, and what is wrong with a field is
// read out with it.

import { FormGroup } from '@patternfly/react-core';
import { screen, waitFor } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { useState } from 'react';
import { describe, expect, it } from 'vitest';
import { serious, show } from '../testing/show';
import { AreaField, ChoiceField, NumberField, TextField } from './fields';
import { FormDialog } from './FormDialog';

function Dialog() {
  const [name, setName] = useState('');
  const [address, setAddress] = useState('');
  const [text, setText] = useState('#!');
  const [on, setOn] = useState(false);
  const ready = name !== '' && address === 'https://x' && text !== '' && on;
  return (
    <FormDialog act={{ method: 'pool.create', params: { name }, title: 'Make one' }} button="Make" ready={ready} close={() => undefined}>
      <TextField id="name" label="Name" value={name} set={setName} required />
      <TextField id="address" label="Address" value={address} set={setAddress} wrong={address === 'https://x' ? undefined : 'Begin it with https.'} help="Of the server." />
      <AreaField id="text" label="Text" value={text} set={setText} required />
      <FormGroup role="group" fieldId="where" label="Where to" isRequired>
        <input id="there" type="checkbox" aria-label="There" checked={on} onChange={() => setOn(!on)} />
      </FormGroup>
    </FormDialog>
  );
}

const waits = () => screen.queryByText(/^Still to be filled in or corrected/)?.textContent;

describe('a form', () => {
  it('says which fields it waits for', async () => {
    await show(<Dialog />);
    await waitFor(() => expect(waits()).toBe('Still to be filled in or corrected: Name, Where to.'));
    await userEvent.type(screen.getByRole('textbox', { name: /^Address/ }), 'x');
    await waitFor(() => expect(waits()).toBe('Still to be filled in or corrected: Name, Address, Where to.'));
    await userEvent.type(screen.getByRole('textbox', { name: /^Name/ }), 'a');
    await userEvent.click(screen.getByRole('checkbox', { name: 'There' }));
    await userEvent.clear(screen.getByRole('textbox', { name: /^Text/ }));
    await waitFor(() => expect(waits()).toBe('Still to be filled in or corrected: Address, Text.'));
    await userEvent.type(screen.getByRole('textbox', { name: /^Text/ }), 'b');
    await userEvent.clear(screen.getByRole('textbox', { name: /^Address/ }));
    await userEvent.type(screen.getByRole('textbox', { name: /^Address/ }), 'https://x');
    await waitFor(() => expect(waits()).toBeUndefined());
    expect(screen.getByRole('button', { name: 'Make' }).hasAttribute('disabled')).toBe(false);
  });

  it('waits for a number that fits and for a choice where there is none, or says what it waits for beside fields', async () => {
    const Change = () => {
      const [size, setSize] = useState(0);
      const [host, setHost] = useState('');
      return (
        <FormDialog act={{ method: 'pool.create', params: { name: '' }, title: 'Change it' }} button="Change" ready={false} waits="Nothing is changed yet." close={() => undefined}>
          <NumberField id="size" label="Size" value={size} set={setSize} min={1} />
          <ChoiceField id="host" label="Host" value={host} set={setHost} options={[['h', 'xen1']]} none="Choose one" required />
        </FormDialog>
      );
    };
    await show(<Change />);
    await waitFor(() => expect(waits()).toBe('Still to be filled in or corrected: Size, Host.'));
    await userEvent.type(screen.getByRole('spinbutton', { name: 'Size' }), '8');
    await userEvent.selectOptions(screen.getByRole('combobox', { name: 'Host' }), 'h');
    expect(await screen.findByText('Nothing is changed yet.')).toBeTruthy();
  });

  it('has what is said under a field read out with it', async () => {
    await show(<Dialog />);
    const address = await screen.findByRole('textbox', { name: /^Address/ });
    const said = () => document.getElementById(address.getAttribute('aria-describedby') ?? '')?.textContent;
    expect(said()).toBe('Of the server.');
    await userEvent.type(address, 'x');
    expect(said()).toContain('Begin it with https.');
    expect(address.getAttribute('aria-invalid')).toBe('true');
    expect(await serious()).toEqual([]);
  });
});
