// The management interface of a host: what would come of it is seen before it can be done.

import { screen, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { Host } from '../../api/generated';
import { Refusal, serious, show, type Answers } from '../../testing/show';
import { Management } from './Management';
import { managementParams, managementProblems, NO_CHANGE, type ManagementDraft } from './managed';

const host = { id: 'h', name: 'xen1', pool: 'p', address: 'xen1:8444' } as Host;
const plan = { now: 'eth0 192.0.2.9/24', then: 'eth0 192.0.2.10/24', agent_address: '192.0.2.10:8444', goes_back_unless_heard_within_s: 60 };
const answers: Answers = { 'host.set_management': (params) => (params.dry_run ? { plan } : { task: 't' }) };

const open = async () => within(await screen.findByRole('dialog'));

describe('the management interface', () => {
  it('is changed once it was seen what would come of it, and of nothing else', async () => {
    const shown = await show(<Management host={host} close={() => undefined} />, { answers });
    const dialog = await open();
    const change = dialog.getByRole('button', { name: 'Change' });
    await userEvent.type(dialog.getByLabelText('Address'), '192.0.2.10/24');
    expect(change.hasAttribute('disabled')).toBe(true);
    await userEvent.click(dialog.getByRole('button', { name: 'See what would come of it' }));
    expect(await dialog.findByText('eth0 192.0.2.10/24')).toBeTruthy();
    expect(await serious()).toEqual([]);
    // Another one has not been looked at.
    await userEvent.type(dialog.getByLabelText('VLAN'), '20');
    expect(change.hasAttribute('disabled')).toBe(true);
    await userEvent.click(dialog.getByRole('button', { name: 'See what would come of it' }));
    await dialog.findByText('eth0 192.0.2.10/24');
    await userEvent.click(change);
    expect(shown.calls('host.set_management').filter(({ dry_run }) => !dry_run)).toEqual([{ host: 'h', address: '192.0.2.10/24', vlan: 20 }]);
  });

  it('says what is refused', async () => {
    const refuse = () => {
      throw new Refusal('high availability is on');
    };
    await show(<Management host={host} close={() => undefined} />, { answers: { 'host.set_management': refuse } });
    const dialog = await open();
    await userEvent.type(dialog.getByLabelText('Address'), 'dhcp');
    await userEvent.click(dialog.getByRole('button', { name: 'See what would come of it' }));
    expect(await dialog.findByText('high availability is on')).toBeTruthy();
    expect(dialog.getByRole('button', { name: 'Change' }).hasAttribute('disabled')).toBe(true);
  });

  it.each<[Partial<ManagementDraft>, (keyof ManagementDraft)[]]>([
    [{ address: 'dhcp' }, []],
    [{ address: '192.0.2.10' }, ['address']],
    [{ address: 'fd00::7/64', gateway: 'fd00::1' }, []],
    [{ gateway: 'router', dns: '192.0.2.53, x' }, ['gateway', 'dns']],
    [{ vlan: '5000', interfaces: 'eth0 eth1' }, ['vlan']],
    [{ agent: 'xen1' }, ['agent']],
  ])('%o has problems with %j', (part, fields) => {
    expect(Object.keys(managementProblems({ ...NO_CHANGE, ...part }))).toEqual(fields);
  });

  it('leaves out what stays', () => {
    expect(managementParams('h', { ...NO_CHANGE, dns: '192.0.2.53 192.0.2.54', bond: 'lacp', vlan: '0' })).toEqual({ host: 'h', dns: ['192.0.2.53', '192.0.2.54'], bond: 'lacp', vlan: 0 });
  });
});
