// The first page: what needs a person comes first, then how the installation is; one that is empty says how to begin.

import { screen, waitFor, within } from '@testing-library/react';
import { describe, expect, it } from 'vitest';
import type { Host, Sr, SystemHealth } from '../../api/generated';
import { refresh } from '../../api/client';
import { page, Refusal, serious, show, somebody, type Answers } from '../../testing/show';
import Home from './Home';

const facts = { memory_total: 8192, memory_free: 2048, topology: { cpus: 8 } };
const host = (id: string, more: Partial<Host> = {}) => ({ id, name: id, pool: 'p', status: 'connected', maintenance: false, vms: 1, facts, certificate_expires: '2099-01-01T00:00:00Z', ...more }) as unknown as Host;
const health: SystemHealth = { changes_heard: 1, hosts: 2, hosts_unknown: 1, tasks_active: 0, vms: 5, vms_running: 3 };
const answers: Answers = {
  'system.health': health,
  'system.info': { version: '1', authority: 'aa' },
  'host.list': page([host('xen1'), host('xen2', { status: 'unknown', problem: 'no route' })]),
  'sr.list': page([{ id: 's', name: 'nas', pool: 'p', hosts: ['xen1'], vdis: 1, space: { total: 100, free: 5, physical: 95, promised: 95 } } as unknown as Sr]),
  'alarm.list': page([]),
  'backup.unprotected': page([{ vm: 'v', name: 'db-1', why: 'never', newest: null } as never]),
  'event.list': page([{ id: 'e', at: '2026-01-01T00:00:00Z', kind: 'host.lost', severity: 'error' as const, subject: 'host/xen2', message: 'xen2 is not heard any more' }]),
};

describe('the first page', () => {
  it('says what needs somebody, and how the installation is', async () => {
    await show(<Home />, { answers });
    const attention = within((await screen.findByText('Needs attention')).closest('.x-attention') as HTMLElement);
    expect(attention.getByRole('link', { name: 'xen2 is not heard: no route' }).getAttribute('href')).toBe('/hosts/xen2');
    expect(await attention.findByRole('link', { name: /^nas is 95.?% full/ })).toBeTruthy();
    expect(screen.getByText('3 running')).toBeTruthy();
    expect(screen.getByText('16 CPU threads')).toBeTruthy();
    expect(await screen.findByRole('link', { name: 'db-1' })).toBeTruthy();
    expect(await screen.findByText('xen2 is not heard any more')).toBeTruthy();
    expect(await serious()).toEqual([]);
  });

  it('stays while it cannot be read again: the strip above says how old it is', async () => {
    let broken = false;
    const read = () => {
      if (broken) throw new Refusal('no answer', 'unreachable');
      return health;
    };
    const shown = await show(<Home />, { answers: { ...answers, 'system.health': read } });
    await screen.findByText('3 running');
    broken = true;
    const before = shown.calls('system.health').length;
    refresh('system');
    await waitFor(() => expect(shown.calls('system.health').length).toBeGreaterThan(before));
    expect(await screen.findByText('3 running')).toBeTruthy();
    expect(screen.queryByText('no answer')).toBeNull();
  });

  it('names eight things, and counts the rest', async () => {
    const lost = Array.from({ length: 11 }, (_, at) => host(`xen${at}`, { status: 'unknown', problem: 'off' }));
    await show(<Home />, { answers: { ...answers, 'host.list': page(lost), 'sr.list': page([]) } });
    expect(await screen.findByText('… and 3 more')).toBeTruthy();
  });

  it('says how to begin, and why one may not', async () => {
    const none = { ...answers, 'host.list': page([]) };
    await show(<Home />, { answers: none });
    expect((await screen.findByRole('button', { name: 'Add a host' })).hasAttribute('disabled')).toBe(false);
    expect(await serious()).toEqual([]);
  });

  it('does not offer a beginning to a viewer', async () => {
    await show(<Home />, { answers: { ...answers, 'host.list': page([]) }, user: somebody('viewer') });
    expect((await screen.findByRole('button', { name: 'Add a host' })).hasAttribute('disabled')).toBe(true);
    expect(screen.getByText(/^This needs the role admin/)).toBeTruthy();
  });
});
