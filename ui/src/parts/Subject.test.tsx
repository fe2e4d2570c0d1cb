// What happened leads to what it happened to.

import { screen } from '@testing-library/react';
import { describe, expect, it } from 'vitest';
import { show } from '../testing/show';
import { Subject } from './Subject';

describe('a subject', () => {
  it.each([
    ['vm/v', '/vms/v'],
    ['sr/s', '/storage/s'],
    ['pool/p', '/pools/p'],
    ['backup_job/j', '/jobs/j'],
    ['backup_run/r', '/runs/r'],
    ['standby/s', '/standbys/s'],
  ])('%s is at %s', async (subject, address) => {
    await show(<Subject subject={subject}>it</Subject>);
    expect(screen.getByRole('link', { name: 'it' }).getAttribute('href')).toBe(address);
  });

  it.each(['snapshot/s', 'system', 'vm/'])('%s has no page', async (subject) => {
    await show(<Subject subject={subject}>it</Subject>);
    expect(screen.getByText('it').tagName).not.toBe('A');
  });
});
