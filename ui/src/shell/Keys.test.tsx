// `g` and a letter or digit goes somewhere, also where the letter alone does something else.

import { fireEvent, screen } from '@testing-library/react';
import { describe, expect, it } from 'vitest';
import { show, somebody } from '../testing/show';
import { Keys } from './Keys';
import { PLACES } from './nav';
// The keys fetch it beforehand: here it is there already, and nothing comes after the end.
import './Palette';

const press = (...keys: string[]) => keys.forEach((key) => fireEvent.keyDown(document.body, { key }));

describe('the keys', () => {
  it('are of one place each', () => {
    const keys = PLACES.map(({ key }) => key);
    expect(new Set(keys).size).toBe(keys.length);
  });

  it.each(PLACES.map(({ key, path }): [string, string] => [key, path]))('g %s goes to %s', async (key, path) => {
    const shown = await show(<><Keys /><input data-search /></>, { at: '/elsewhere' });
    press('g', key);
    expect(shown.address()).toBe(path);
  });

  it('f alone is the filter, g alone nothing', async () => {
    const shown = await show(<><Keys /><input data-search aria-label="filter" /></>, { at: '/elsewhere' });
    press('g', 'Escape', 'f');
    expect(document.activeElement).toBe(screen.getByLabelText('filter'));
    expect(shown.address()).toBe('/elsewhere');
  });

  it('do not lead where one may not look', async () => {
    const shown = await show(<Keys />, { at: '/elsewhere', user: somebody('viewer') });
    press('g', 'u');
    expect(shown.address()).toBe('/elsewhere');
  });
});
