// A tab is a link: a click shows its part, a click with a key held leaves it to the browser.

import { fireEvent, render, screen } from '@testing-library/react';
import { describe, expect, it, vi } from 'vitest';
import { Parts } from './Parts';

describe('the parts of a page', () => {
  it('are shown by a click, and opened elsewhere with a key held', () => {
    const go = vi.fn();
    render(
      <Parts of="vm" label="Parts" parts={[['summary', 'Summary'], ['disks', 'Disks']]} shown="summary" address={(key) => `/vms/1/${key}`} go={go}>
        here
      </Parts>,
    );
    const tab = screen.getByRole('tab', { name: 'Disks' });
    expect(tab.getAttribute('href')).toBe('/vms/1/disks');
    expect(fireEvent.click(tab, { ctrlKey: true })).toBe(true);
    expect(go).not.toHaveBeenCalled();
    expect(fireEvent.click(tab)).toBe(false);
    expect(go).toHaveBeenCalledWith('disks');
  });
});
