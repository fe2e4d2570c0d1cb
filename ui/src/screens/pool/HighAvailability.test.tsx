// High availability of a pool as it is: what protects each host, what waits, and what comes first.

import { fireEvent, screen, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { HaHostState, Pool, PoolHa } from '../../api/generated';
import { useChangeFeed } from '../../live/changes';
import { useEventFeed } from '../../live/events';
import { page, serious, show } from '../../testing/show';
import { HighAvailability } from './HighAvailability';

const pool = { id: 'p', name: 'east' } as Pool;
const ha: PoolHa = {
  pool: 'p',
  armed: { sr: 's', beat_s: 5, lease_s: 60, watchdog_s: 60 },
  hosts: [
    { host: 'h1', name: 'xen1', state: 'armed', waiting: [] },
    { host: 'h2', name: 'xen2', state: 'fenced', problem: 'its lease stands still', waiting: ['a', 'b'] },
  ],
  priorities: [{ vm: 'v', name: 'db-1', priority: 'high' }],
};

describe('high availability', () => {
  it('says of each host how it is and what waits, and which VMs come first', async () => {
    await show(<HighAvailability pool={pool} close={() => undefined} />, { answers: { 'ha.show': ha } });
    const dead = within((await screen.findByText('xen2')).closest('tr') as HTMLElement);
    expect(dead.getByText('its lease stands still')).toBeTruthy();
    expect(dead.getByText('2')).toBeTruthy();
    expect(screen.getByRole('link', { name: 'db-1' }).getAttribute('href')).toBe('/vms/v');
    expect(screen.getByText('Before all others')).toBeTruthy();
    expect(screen.getByText('Cut off, a host is reset after')).toBeTruthy();
    expect(await serious()).toEqual([]);
  });

  it('is read again when something has happened to a host, and when the orchestrator says that it is otherwise', async () => {
    let now = ha;
    const one = (state: HaHostState): PoolHa => ({ ...ha, hosts: [{ host: 'h1', name: 'xen1', state, waiting: [] }] });
    function Live() {
      useEventFeed();
      useChangeFeed();
      return <HighAvailability pool={pool} close={() => undefined} />;
    }
    const shown = await show(<Live />, { answers: { 'ha.show': () => now } });
    expect(await screen.findByText('protected')).toBeTruthy();
    now = one('suspected');
    shown.tell('event.subscribe', { id: 'e', at: '2026-01-01T00:00:00Z', kind: 'host.lost', severity: 'error', subject: 'host/h1', message: 'xen1 is not heard' });
    expect(await screen.findByText('not heard: it may be dead')).toBeTruthy();
    now = one('unarmed');
    shown.tell('change.subscribe', { noun: 'ha' });
    expect(await screen.findByText('not protected')).toBeTruthy();
  });

  it('is turned on with shared storage of the pool alone', async () => {
    const sr = (id: string, pool: string, spec?: object) => ({ id, name: id, pool, spec, hosts: [], vdis: 0 });
    const srs = page([sr('nas', 'p', { kind: 'nfs' }), sr('local', 'p'), sr('far', 'q', { kind: 'nfs' })] as never[]);
    const shown = await show(<HighAvailability pool={pool} close={() => undefined} />, { answers: { 'ha.show': { ...ha, armed: null }, 'sr.list': srs, 'ha.enable': ha } });
    const field = await screen.findByRole('combobox', { name: 'Where the leases of the hosts are' });
    await within(field).findByRole('option', { name: 'nas' });
    expect(within(field).queryByRole('option', { name: /local|far/ })).toBeNull();
    await userEvent.selectOptions(field, 'nas');
    fireEvent.change(screen.getByRole('spinbutton', { name: 'Reset after (s)' }), { target: { value: '90' } });
    await userEvent.click(screen.getByRole('button', { name: 'Turn on' }));
    // What is as usual is not said.
    expect(shown.calls('ha.enable')).toEqual([{ pool: 'p', sr: 'nas', lease_s: 90 }]);
  });
});
