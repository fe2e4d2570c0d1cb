// The palette tells who cannot see which offer is chosen, in the field where the keys go.

import { fireEvent, screen } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
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
});
