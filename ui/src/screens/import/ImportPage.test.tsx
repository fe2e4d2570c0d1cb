// An import and a wave under way: what is shown can be read by everybody, and what waits for a person can be decided.

import { screen, waitFor } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { Import, Wave } from '../../api/generated';
import { page, serious, show, somebody, type Answers } from '../../testing/show';
import WavePage from '../wave/WavePage';
import ImportPage from './ImportPage';

const row: Import = {
  id: 'i',
  name: 'web-1',
  vm: 'v',
  host: 'h',
  task: 't',
  phase: 'following',
  origin: { kind: 'vsphere', source: 's', source_name: 'vcenter', vm: 'vm-7', vm_name: 'WEB01' },
  disks: [{ name: 'Hard disk 1', vdi: 'd', capacity: 1 << 30, done: 1 << 29 }],
  passes: [{ disk: 'Hard disk 1', method: 'changed', read: 1 << 20, written: 1 << 20, milliseconds: 900, reason: '' }],
  archived: false,
  created: '2026-01-01T00:00:00Z',
};
const wave: Wave = {
  id: 'w',
  name: 'friday',
  source: 's',
  status: 'running',
  caps: { overall: 20 },
  options: {},
  members: [
    { vm: 'vm-7', name: 'WEB01', step: 'following', transfer_mib: 1024, import: 'i' },
    { vm: 'vm-8', name: 'DB01', step: 'refused', transfer_mib: 2048, message: 'it has a snapshot tree' },
  ],
  moved_mib: 512,
  total_mib: 3072,
  created: '2026-01-01T00:00:00Z',
};
const names: Answers = { 'host.list': page([{ id: 'h', name: 'xen1' }] as never[]), 'pool.list': page([]), 'network.list': page([]) };
const at = { at: '/imports/i', route: '/imports/:import' };

describe('an import', () => {
  it('that follows its source says how far it is, and can be cut over', async () => {
    await show(<ImportPage />, { answers: { ...names, 'import.get': row }, ...at });
    expect(await screen.findByRole('heading', { name: 'web-1', level: 1 })).toBeTruthy();
    expect(screen.getByText('vcenter: WEB01')).toBeTruthy();
    expect(screen.getByRole('progressbar', { name: 'Hard disk 1' }).getAttribute('aria-valuenow')).toBe('50');
    expect(screen.getByRole('button', { name: 'Cut over' })).toBeTruthy();
    expect(await serious()).toEqual([]);
  });

  it('that waits for a decision takes one', async () => {
    const waits: Import = { ...row, phase: 'not-prepared', message: 'the guest could not be read' };
    const shown = await show(<ImportPage />, { answers: { ...names, 'import.get': waits, 'import.prepare': waits }, ...at });
    await userEvent.click(await screen.findByRole('button', { name: 'Go on without' }));
    await waitFor(() => expect(shown.calls('import.prepare')).toEqual([{ import: 'i', without: true }]));
    expect(screen.queryByRole('button', { name: 'Cut over' })).toBeNull();
    expect(await serious()).toEqual([]);
  });

  it('is only looked at by who may not decide', async () => {
    await show(<ImportPage />, { answers: { ...names, 'import.get': row }, user: somebody('viewer'), ...at });
    expect((await screen.findByRole('button', { name: 'Cut over' })).getAttribute('aria-disabled')).toBe('true');
  });
});

describe('a wave', () => {
  it('leads to what has begun, and says why the rest has not', async () => {
    await show(<WavePage />, { answers: { 'wave.get': wave }, at: '/waves/w', route: '/waves/:wave' });
    expect((await screen.findByRole('link', { name: 'WEB01' })).getAttribute('href')).toBe('/imports/i');
    expect(screen.getByText('it has a snapshot tree')).toBeTruthy();
    expect(screen.queryByRole('link', { name: 'DB01' })).toBeNull();
    expect(await serious()).toEqual([]);
  });
});
