// Certificates: which need somebody, and who renews what.

import { screen, within } from '@testing-library/react';
import { describe, expect, it } from 'vitest';
import type { Host, SystemInfo } from '../../api/generated';
import { page, serious, show } from '../../testing/show';
import Certificates from './Certificates';
import { expiry, type Expiry, type Kind } from './expiry';

const DAY = 86_400_000;
const NOW = Date.parse('2026-01-01T00:00:00Z');
const inDays = (days: number, now = Date.now()) => new Date(now + days * DAY).toISOString();

describe('a certificate', () => {
  it.each<[Kind, number, Expiry]>([
    ['host', 15, 'fine'],
    ['host', 9, 'late'],
    ['host', -1, 'over'],
    ['own', 199, 'fine'],
    ['own', 100, 'late'],
    ['files', 40, 'fine'],
    ['files', 29, 'late'],
    ['authority', 364, 'late'],
  ])('of kind %s with %i days left is %s', (kind, days, said) => {
    expect(expiry(kind, inDays(days, NOW), NOW)).toBe(said);
  });
});

const host = (name: string, days: number): Host => ({ id: name, name, pool: 'p', address: `${name}:8444`, maintenance: false, status: 'connected', vms: 0, certificate_expires: inDays(days) });
const info: SystemInfo = { version: '1', authority: 'ab'.repeat(32), authority_pem: 'PEM', authority_expires: inDays(3000), certificate: { fingerprint: 'cd'.repeat(32), expires: inDays(20), from_files: true } };

describe('the screen', () => {
  it('has those that end first on top, and says who renews what', async () => {
    await show(<Certificates />, { answers: { 'system.info': info, 'host.list': page([host('xen1', 20), host('xen2', 3)]) } });
    const rows = within(await screen.findByRole('grid', { name: 'Certificates of hosts' })).getAllByRole('row').slice(1);
    expect(rows.map((row) => within(row).getByRole('link').textContent)).toEqual(['xen2', 'xen1']);
    expect(within(rows[0] as HTMLElement).getByText('Ends soon')).toBeTruthy();
    expect(within(rows[1] as HTMLElement).getByText('Valid')).toBeTruthy();
    expect(screen.getByText(/Renew it in its files/)).toBeTruthy();
    expect(await serious()).toEqual([]);
  });

  it('does without what an earlier orchestrator does not tell', async () => {
    await show(<Certificates />, { answers: { 'system.info': { version: '1', authority: 'ab' } as SystemInfo, 'host.list': page([]) } });
    expect(await screen.findByText('It cannot be read.')).toBeTruthy();
    expect(screen.queryByRole('button', { name: 'Save its certificate' })).toBeNull();
  });
});
