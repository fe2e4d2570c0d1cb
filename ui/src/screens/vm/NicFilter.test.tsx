// What may pass a NIC: said in a few words, changed by what differs and nothing else.

import { screen, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { NicSettings, Vm } from '../../api/generated';
import { page, serious, show } from '../../testing/show';
import { fromNic, nicChange } from './NicFilter';
import { VmNics } from './VmNics';

const MAC = '00:16:3e:00:00:01';
const nic: NicSettings = { mac: MAC, network: 'lan', security_groups: ['web'], settings: { lock: 'addresses', addresses: ['10.0.0.7'], link: 'up', rate_mbit: 100 } };
const vm = { id: 'v', name: 'web-1', pool: 'p', managed: true, tags: [], spec: { nics: [{ mac: MAC, network: 'lan', bridge: 'xenbr0' }] } } as unknown as Vm;

describe('a change', () => {
  const before = fromNic(nic.settings);
  it.each([
    ['nothing', before, {}],
    ['the order of addresses', { ...before, addresses: '10.0.0.7' }, {}],
    ['the lock', { ...before, lock: 'mac' as const }, { lock: 'mac' }],
    ['its addresses', { ...before, addresses: 'fd00::7 10.0.0.7' }, { addresses: ['10.0.0.7', 'fd00::7'] }],
    ['no addresses', { ...before, addresses: '' }, { addresses: [] }],
    ['no limit', { ...before, rate: 0 }, { rate_mbit: 0 }],
    ['its link', { ...before, down: true }, { link: 'down' }],
  ])('of %s', (_name, after, asked) => expect(nicChange('v', MAC, before, after)).toEqual({ vm: 'v', mac: MAC, ...asked }));
});

describe('the NICs', () => {
  it('say what may pass, and change it', async () => {
    const shown = await show(<VmNics vm={vm} />, {
      answers: { 'vm.nics': [nic], 'vm.set_nic': nic, 'host.list': page([]), 'pool.list': page([]), 'network.list': page([{ id: 'lan', name: 'lan' }] as never[]) },
    });
    expect(await screen.findByText('from 10.0.0.7; at most 100 Mbit/s; by web')).toBeTruthy();
    await userEvent.click(screen.getByRole('button', { name: `Actions for ${MAC}` }));
    await userEvent.click(await screen.findByRole('menuitem', { name: /^What may pass/ }));
    const dialog = within(await screen.findByRole('dialog'));
    const change = dialog.getByRole('button', { name: 'Change' });
    expect(change.hasAttribute('disabled')).toBe(true);
    const addresses = dialog.getByRole('textbox', { name: 'Addresses of the guest' });
    await userEvent.clear(addresses);
    await userEvent.type(addresses, '10.0.0.x');
    expect(dialog.getByText('This is no address: 10.0.0.x')).toBeTruthy();
    await userEvent.clear(addresses);
    expect(change.hasAttribute('disabled')).toBe(true);
    await userEvent.selectOptions(dialog.getByRole('combobox', { name: 'The guest may send from' }), 'mac');
    expect(await serious()).toEqual([]);
    await userEvent.click(change);
    expect(shown.calls('vm.set_nic')).toEqual([{ vm: 'v', mac: MAC, lock: 'mac', addresses: [] }]);
  });
});
