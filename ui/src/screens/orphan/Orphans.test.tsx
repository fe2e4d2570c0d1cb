// The list of orphans: filtered by the API, and each with all that is known of it.

import { screen, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { Orphan } from '../../api/generated';
import { page, serious, show } from '../../testing/show';
import Orphans from './Orphans';

const LOST: Orphan = { id: 'o', kind: 'lost', subject: 'vm/v', name: 'web-1', host: 'xen1', message: 'xen1 does not know it any more; restore it from a backup', since: '2026-01-01T00:00:00Z' };
const complete = { 'filter.complete': { from: 0, candidates: [] } };

describe('orphans', () => {
  it('say what can be done, and lead to what is recorded', async () => {
    const shown = await show(<Orphans />, { answers: { ...complete, 'orphan.list': page([LOST]) }, at: '/orphans?q=kind:lost&sort=-since' });
    await userEvent.click(await screen.findByRole('button', { name: 'web-1' }));
    expect(shown.calls('orphan.list')[0]).toMatchObject({ filter: 'kind:lost', sort: '-since' });
    const dialog = within(await screen.findByRole('dialog'));
    expect(dialog.getByText(LOST.message)).toBeTruthy();
    expect(dialog.getByRole('link', { name: 'vm/v' }).getAttribute('href')).toBe('/vms/v');
    expect(await serious()).toEqual([]);
  });

  it('are none where everything agrees', async () => {
    await show(<Orphans />, { answers: { ...complete, 'orphan.list': page([]) }, at: '/orphans' });
    expect(await screen.findByText('Everything agrees')).toBeTruthy();
  });
});
