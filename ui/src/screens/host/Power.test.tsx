// The power of a host: asked for by hand, cut only with its name typed; the password is never copied.

import { screen, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { Host, PowerControl } from '../../api/generated';
import { serious, show, somebody, type Answers } from '../../testing/show';
import { fingerprintOf, sameControl } from './controller';
import { PowerCard } from './Power';

const host = { id: 'h1', name: 'xen1', pool: 'p' } as Host;
const control: PowerControl = { kind: 'redfish', address: 'bmc1.example.org', user: 'xenith', fingerprint: 'aa'.repeat(32) };
const answers: Answers = {
  'host.power_control': { host: 'h1', control },
  'host.power': ({ order }) => ({ host: 'h1', power: order === 'off' ? 'off' : 'on' }),
  'host.set_power_control': { host: 'h1', control },
};

const verb = async (name: string) => {
  await userEvent.click(await screen.findByRole('button', { name: 'Actions for the power of xen1' }));
  await userEvent.click(await screen.findByRole('menuitem', { name: new RegExp(`^${name}`) }));
};

describe('power control', () => {
  it('asks its controller when it is asked to, and not before', async () => {
    const shown = await show(<PowerCard host={host} />, { answers });
    await userEvent.click(await screen.findByRole('button', { name: 'Ask' }));
    expect(await screen.findByText('Powered on')).toBeTruthy();
    expect(shown.calls('host.power')).toEqual([{ host: 'h1', order: 'status' }]);
    expect(await serious()).toEqual([]);
  });

  it('cuts the power with the name typed, and also of what runs where that is said', async () => {
    const shown = await show(<PowerCard host={host} />, { answers });
    await verb('Switch off');
    const dialog = within(await screen.findByRole('dialog'));
    const off = dialog.getByRole('button', { name: 'Switch off' });
    expect(off.hasAttribute('disabled')).toBe(true);
    await userEvent.click(dialog.getByRole('checkbox', { name: /^Also while VMs run/ }));
    await userEvent.type(dialog.getByRole('textbox'), 'xen1');
    await userEvent.click(off);
    expect(await screen.findByText('Powered off')).toBeTruthy();
    expect(shown.calls('host.power')).toEqual([{ host: 'h1', order: 'off', force: true }]);
  });

  it('is set up with the fingerprint as openssl says it, and copied without the password', async () => {
    const shown = await show(<PowerCard host={host} />, { answers: { ...answers, 'host.power_control': { host: 'h1' } } });
    await userEvent.click(await screen.findByRole('button', { name: 'Say where its power is switched' }));
    const dialog = within(await screen.findByRole('dialog'));
    await userEvent.type(dialog.getByRole('textbox', { name: /^Address/ }), 'bmc1.example.org');
    await userEvent.type(dialog.getByRole('textbox', { name: /^SHA-256/ }), 'nonsense');
    expect(dialog.getByText('64 hexadecimal digits, with or without colons.')).toBeTruthy();
    await userEvent.clear(dialog.getByRole('textbox', { name: /^SHA-256/ }));
    await userEvent.type(dialog.getByRole('textbox', { name: /^SHA-256/ }), `sha256 Fingerprint=${Array(32).fill('AA').join(':')}`);
    await userEvent.type(dialog.getByRole('textbox', { name: /^Signs in as/ }), 'xenith');
    await userEvent.type(dialog.getByLabelText(/^Password/), 's3cret');
    expect(await serious()).toEqual([]);
    await userEvent.click(dialog.getByRole('button', { name: 'Copy as …' }));
    const copied = [...document.querySelectorAll('input')].map(({ value }) => value).find((value) => value.startsWith('xenith '));
    expect(copied).toBe(`xenith host set-power-control h1 redfish bmc1.example.org --user xenith --certificate ${'aa'.repeat(32)}`);
    expect(document.querySelector('pre')?.textContent ?? '').not.toContain('s3cret');
    await userEvent.click(screen.getAllByRole('button', { name: 'Close' }).at(-1) as HTMLElement);
    await userEvent.click(dialog.getByRole('button', { name: 'Try it and keep it' }));
    expect(shown.calls('host.set_power_control')).toEqual([{ host: 'h1', kind: 'redfish', address: 'bmc1.example.org', user: 'xenith', fingerprint: 'aa'.repeat(32), password: 's3cret' }]);
  });

  it('is nothing for who may not switch it', async () => {
    const shown = await show(<PowerCard host={host} />, { answers, user: somebody('operator') });
    expect(screen.queryByText('Power control')).toBeNull();
    expect(shown.asked).toEqual([]);
  });

  it('keeps a known password for the same controller alone', () => {
    expect(fingerprintOf('AA:'.repeat(31) + 'AA')).toBe('aa'.repeat(32));
    expect(fingerprintOf('aa')).toBeUndefined();
    expect(sameControl(control, control)).toBe(true);
    expect(sameControl(control, { ...control, address: 'bmc2.example.org' })).toBe(false);
    expect(sameControl(undefined, control)).toBe(false);
  });
});
