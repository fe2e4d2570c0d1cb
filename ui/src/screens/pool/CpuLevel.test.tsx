// The CPU level of a pool: what it is, how hosts differ from it, and what another one would change before it is set.

import { screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { CpuLevelStatus, HostCpu, Pool } from '../../api/generated';
import { Refusal, serious, show, somebody, type Answers } from '../../testing/show';
import { FEATURES, sameLevel } from './cpu';
import { CpuLevel } from './CpuLevel';

const features = (ebx: string, maker = 'GenuineIntel') => `${maker}:00000001:00000001:00000001:00000001:00000001:${ebx}:00000000:00000000`;
const [wide, narrow] = [features('00010020'), features('00000020')];
const pool = { id: 'p', name: 'east' } as Pool;
const hosts: HostCpu[] = [
  { host: 'h1', name: 'xen1', features: wide, hidden: ['avx512f'], lacking: [] },
  { host: 'h2', name: 'xen2', features: narrow, hidden: [], lacking: [] },
  { host: 'h3', name: 'xen3', features: null, hidden: [], lacking: [] },
];
const off: CpuLevelStatus = { pool: 'p', mode: { kind: 'off' }, levels: [], hosts: hosts.map((host) => ({ ...host, hidden: [] })) };
const auto: CpuLevelStatus = { pool: 'p', mode: { kind: 'auto' }, levels: [narrow], hosts };
const nothing = { levels: [], hosts: off.hosts, restart: [], restart_total: 0 };
const answers: Answers = {
  'pool.cpu_level': off,
  'pool.set_cpu_level': ({ dry_run, mode }) => {
    if (!dry_run) return auto;
    if (mode.kind === 'off') return { plan: nothing };
    return { plan: { levels: [narrow], hosts: hosts.map((host) => (mode.kind === 'set' && host.host === 'h2' ? { ...host, lacking: ['avx512f'] } : host)), restart: [{ vm: 'v', name: 'web-1' }], restart_total: 3 } };
  },
};

const open = async () => {
  await userEvent.click(await screen.findByRole('button', { name: 'Change the level' }));
  return within(await screen.findByRole('dialog'));
};

describe('features as they are written', () => {
  it.each<[string, string, boolean]>([
    ['as a host tells them', wide, true],
    ['of another maker', features('00000001', 'AuthenticAMD'), true],
    ['of nobody', features('00000001', 'Intel'), false],
    ['with seven words', wide.slice(0, -9), false],
    ['nothing', '', false],
  ])('%s', (_name, text, fine) => expect(FEATURES.test(text)).toBe(fine));

  it('are the same level by what they say', () => {
    expect(sameLevel({ kind: 'auto' }, { kind: 'auto' })).toBe(true);
    expect(sameLevel({ kind: 'set', features: wide }, { kind: 'set', features: narrow })).toBe(false);
    expect(sameLevel({ kind: 'off' }, { kind: 'set', features: wide })).toBe(false);
  });
});

describe('the CPU level of a pool', () => {
  it('is shown with what each host has beyond it', async () => {
    await show(<CpuLevel pool={pool} />, { answers: { ...answers, 'pool.cpu_level': auto } });
    expect(await screen.findByText('What all hosts have')).toBeTruthy();
    expect(screen.getByText('At most, of GenuineIntel')).toBeTruthy();
    expect(screen.getByText(narrow)).toBeTruthy();
    const row = within((await screen.findByRole('link', { name: 'xen1' })).closest('tr') as HTMLElement);
    expect(row.getByText('avx512f')).toBeTruthy();
    expect(screen.getByText('it does not tell')).toBeTruthy();
    expect(await serious()).toEqual([]);
  });

  it('is changed by a plan that names the VMs that have to start anew', async () => {
    const shown = await show(<CpuLevel pool={pool} />, { answers });
    const dialog = await open();
    const change = dialog.getByRole('button', { name: 'Change' });
    expect(change.hasAttribute('disabled')).toBe(true);
    await userEvent.click(dialog.getByRole('radio', { name: 'What all hosts have' }));
    expect(await dialog.findByText('3 VMs have more than that until they are shut down and started')).toBeTruthy();
    expect(dialog.getByRole('link', { name: 'web-1' }).getAttribute('href')).toBe('/vms/v');
    expect(dialog.getByText('… all 3 of them')).toBeTruthy();
    expect(await serious()).toEqual([]);
    await userEvent.click(change);
    await waitFor(() => expect(shown.calls('pool.set_cpu_level').at(-1)).toEqual({ pool: 'p', mode: { kind: 'auto' } }));
    await userEvent.click(await screen.findByRole('button', { name: 'Undo' }));
    await waitFor(() => expect(shown.calls('pool.set_cpu_level').at(-1)).toEqual({ pool: 'p', mode: { kind: 'off' } }));
  });

  it('is set as one host has it, and says which host does not take part', async () => {
    const shown = await show(<CpuLevel pool={pool} />, { answers });
    const dialog = await open();
    await userEvent.click(dialog.getByRole('radio', { name: 'These features' }));
    const given = dialog.getByRole('textbox', { name: /^CPU features/ });
    await userEvent.click(given);
    await userEvent.paste('GenuineIntel:1');
    expect(dialog.getByText(/^As the page of a host has them/)).toBeTruthy();
    // One that does not tell is not offered.
    expect(within(dialog.getByLabelText('As this host has them')).queryByRole('option', { name: 'xen3' })).toBeNull();
    await userEvent.selectOptions(dialog.getByLabelText('As this host has them'), 'xen1');
    expect((given as HTMLInputElement).value).toBe(wide);
    expect(await dialog.findByText('VMs that other hosts have started do not go to: xen2')).toBeTruthy();
    await userEvent.click(dialog.getByRole('button', { name: 'Change' }));
    await waitFor(() => expect(shown.calls('pool.set_cpu_level').at(-1)).toEqual({ pool: 'p', mode: { kind: 'set', features: wide } }));
  });

  it('that would be refused says so before', async () => {
    const refuse = () => {
      throw new Refusal('no host of east has processors of AuthenticAMD', 'invalid');
    };
    await show(<CpuLevel pool={pool} />, { answers: { ...answers, 'pool.set_cpu_level': refuse } });
    const dialog = await open();
    expect(await dialog.findByText('It would be refused')).toBeTruthy();
    expect(dialog.getByText('no host of east has processors of AuthenticAMD')).toBeTruthy();
  });

  it('is not changed by who may not', async () => {
    await show(<CpuLevel pool={pool} />, { answers, user: somebody('viewer') });
    const button = await screen.findByRole('button', { name: 'Change the level' });
    expect(button.getAttribute('aria-disabled')).toBe('true');
    expect(button.getAttribute('aria-description')).toBe('This needs the role admin.');
  });
});
