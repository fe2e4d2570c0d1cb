// The palette tells who cannot see which offer is chosen, in the field where the keys go.

import { fireEvent, screen } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { VmRow } from '../api/generated';
import { page, serious, show } from '../testing/show';
import Palette from './Palette';

const none = page([]);
const answers = { 'vm.list': none, 'host.list': none, 'vdi.list': none, 'network.list': none, 'pool.list': none, 'template.list': none, 'sr.list': none };

describe('the palette', () => {
  it('goes where was chosen with the keys', async () => {
    const shown = await show(<Palette close={() => undefined} />, { answers, at: '/elsewhere' });
    const field = await screen.findByRole('combobox', { name: 'Search and commands' });
    await userEvent.type(field, 'al');
    const chosen = () => document.getElementById(field.getAttribute('aria-activedescendant') ?? '')?.textContent;
    expect(chosen()).toContain('Virtual machines');
    while (!chosen()?.includes('Alarms')) fireEvent.keyDown(field, { key: 'ArrowDown' });
    expect(await serious()).toEqual([]);
    fireEvent.keyDown(field, { key: 'Enter' });
    expect(shown.address()).toBe('/alarms');
  });

  it('asks before it deletes what the menu of the VM asks: its name', async () => {
    const vm = { id: 'v', name: 'web-1', power: 'stopped', managed: true, tags: [], addresses: [] } as unknown as VmRow;
    const shown = await show(<Palette close={() => undefined} />, { answers: { ...answers, 'vm.list': page([vm]), 'vm.delete': (params) => (params.dry_run ? { plan: {} } : { task: 't' }) } });
    const field = await screen.findByRole('combobox', { name: 'Search and commands' });
    await userEvent.type(field, 'delete web-1');
    await screen.findByText('Delete: web-1');
    fireEvent.keyDown(field, { key: 'Enter' });
    const name = await screen.findByRole('textbox', { name: /^Type web-1 to go on/ });
    const go = screen.getByRole('button', { name: 'Delete' });
    expect(go.hasAttribute('disabled')).toBe(true);
    await userEvent.type(name, 'web-1');
    await userEvent.click(go);
    expect(shown.calls('vm.delete').filter(({ dry_run }) => !dry_run)).toEqual([{ vm: 'v' }]);
  });

  it('says what is lost with the power of one that is suspended', async () => {
    const vm = { id: 'v', name: 'web-1', power: 'suspended', managed: true, tags: [], addresses: [] } as unknown as VmRow;
    const shown = await show(<Palette close={() => undefined} />, { answers: { ...answers, 'vm.list': page([vm]), 'vm.power_off': (params) => (params.dry_run ? { plan: {} } : { task: 't' }) } });
    const field = await screen.findByRole('combobox', { name: 'Search and commands' });
    await userEvent.type(field, 'power off web-1');
    await screen.findByText('Discard the saved memory: web-1');
    fireEvent.keyDown(field, { key: 'Enter' });
    await screen.findByText(/The memory that was saved of it is lost/);
    await userEvent.click(screen.getByRole('button', { name: 'Discard' }));
    expect(shown.calls('vm.power_off').filter(({ dry_run }) => !dry_run)).toEqual([{ vm: 'v', discard_memory: true }]);
  });
});
