// The fleet as a tree: what is open stands in the address, and only what is open is read.

import { screen } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { Host, VmRow } from '../../api/generated';
import { page, serious, show, type Answers } from '../../testing/show';
import Fleet from './Fleet';

const host = (id: string) => ({ id, name: id, pool: 'p', status: 'connected', maintenance: false, vms: 1 }) as Host;
const answers: Answers = {
  'pool.list': page([{ id: 'p', name: 'east', description: '', created: '' } as never]),
  'host.list': page([host('xen1'), host('xen2')]),
  'vm.list': { items: [{ id: 'v', name: 'web-1', power: 'running', tags: [], addresses: [] } as unknown as VmRow], total: 300, next: 'x' },
  'vm.complete': { from: 4, candidates: [{ text: 'prod', hint: '2' }] },
};

describe('the fleet', () => {
  it('is read where it is opened, and of a long branch its beginning', async () => {
    const shown = await show(<Fleet />, { answers, at: '/fleet' });
    await screen.findByRole('link', { name: 'xen1' });
    expect(shown.calls('vm.list')).toEqual([]);
    await userEvent.click(screen.getByRole('button', { name: /xen1/ }));
    expect(await screen.findByRole('link', { name: 'web-1' })).toBeTruthy();
    expect(shown.calls('vm.list')).toMatchObject([{ filter: 'host_id:xen1' }]);
    expect(shown.address()).toBe('/fleet?open=xen1');
    expect(screen.getByRole('link', { name: 'All 300 in the table' }).getAttribute('href')).toBe('/vms?q=host_id%3Axen1');
    expect(await serious()).toEqual([]);
  });

  it('is shown by tags, too', async () => {
    await show(<Fleet />, { answers, at: '/fleet?by=tag' });
    expect(await screen.findByRole('link', { name: 'prod' })).toBeTruthy();
    expect(await serious()).toEqual([]);
  });
});
