// Standbys: what each could do now, and that nothing is lost by one click.

import { screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { Standby, Vm } from '../../api/generated';
import { page, Refusal, serious, show, somebody, type Answers } from '../../testing/show';
import { createStandby, EMPTY_STANDBY, standbyReady } from './draft';
import NewStandby from './NewStandby';
import StandbyPage from './StandbyPage';
import Standbys from './Standbys';
import { isBehind, lost } from './words';

const ago = (minutes: number) => new Date(Date.now() - minutes * 60_000).toISOString();
const standby = (more: Partial<Standby> = {}): Standby => ({ vm: 's', name: 'web-1-standby', of: 'v', of_name: 'web-1', host: 'h2', repository: 'r', repository_name: 'main', status: 'ready', automatic: true, keep_macs: false, backup: 'b1', backup_created: ago(5), newest: ago(5), ...more });
const incomplete = { status: 'incomplete', backup: null, backup_created: null } as const;
const started = { task: 't', object: 's' };
const vm = { id: 'v', name: 'web-1', host: 'h1', pool: 'p', managed: true, tags: [], pending_restart: [], spec: { disks: [{ vdi: 'd' }], nics: [{ network: 'lan' }] } } as unknown as Vm;
const answers: Answers = {
  'standby.list': page([standby()]),
  'standby.get': standby(),
  'standby.create': started,
  'standby.follow': started,
  'standby.fail_over': (params) => (params.dry_run ? { plan: { lost_seconds: 300 } } : started),
  'standby.fail_back': started,
  'standby.release': {},
  'standby.delete': started,
  'backup.prove': started,
  'vm.get': vm,
  'vm.list': page([]),
  'host.list': page([{ id: 'h1', name: 'xen1', pool: 'p' }, { id: 'h2', name: 'xen2', pool: 'q' }] as never[]),
  'pool.list': page([{ id: 'p', name: 'here' }, { id: 'q', name: 'there' }] as never[]),
  'network.list': page([{ id: 'lan', name: 'lan', pool: 'p' }, { id: 'dmz', name: 'dmz', pool: 'q' }] as never[]),
  'repository.list': page([{ id: 'r', name: 'main' }] as never[]),
  'sr.list': page([]),
};
const at = { at: '/standbys/s', route: '/standbys/:standby' };
const menu = async (verb: string) => {
  await userEvent.click(await screen.findByRole('button', { name: 'Actions for web-1-standby' }));
  return screen.findByRole('menuitem', { name: new RegExp(`^${verb}`) });
};
const dialog = async () => within(await screen.findByRole('dialog'));

describe('a standby', () => {
  it('loses what was written since its backup, and knows of a newer one', () => {
    const now = Date.parse('2026-01-01T01:00:00Z');
    expect(lost({ backup_created: '2026-01-01T00:00:00Z' }, now)).toBe(3600);
    expect(lost({}, now)).toBeUndefined();
    expect(isBehind({ backup_created: '2026-01-01T00:00:00Z', newest: '2026-01-01T00:00:00Z' })).toBe(false);
    expect(isBehind({ backup_created: '2026-01-01T00:00:00Z', newest: '2026-01-01T00:30:00Z' })).toBe(true);
    expect(isBehind({ newest: '2026-01-01T00:30:00Z' })).toBe(true);
  });

  it('is listed with what it stands by for', async () => {
    const shown = await show(<Standbys />, { answers, at: '/standbys?q=status:ready' });
    expect((await screen.findByRole('link', { name: 'web-1-standby' })).getAttribute('href')).toBe('/standbys/s');
    expect(screen.getByRole('link', { name: 'web-1' }).getAttribute('href')).toBe('/vms/v');
    expect(await screen.findByRole('link', { name: 'xen2' })).toBeTruthy();
    expect(shown.calls('standby.list')[0]).toMatchObject({ filter: 'status:ready' });
    expect(await serious()).toEqual([]);
  });

  it('takes over once its name was typed, and the plan was asked for', async () => {
    const shown = await show(<StandbyPage />, { answers, ...at });
    await userEvent.click(await menu('Fail over'));
    const ask = await dialog();
    expect(ask.getByText(/^web-1-standby starts with what web-1 was 5m/)).toBeTruthy();
    const button = ask.getByRole('button', { name: 'Fail over' });
    expect(button.hasAttribute('disabled')).toBe(true);
    await userEvent.click(ask.getByRole('checkbox'));
    await userEvent.type(ask.getByRole('textbox'), 'web-1-standby');
    await userEvent.click(button);
    const calls = shown.calls('standby.fail_over');
    expect(calls.slice(0, -1)).toEqual([{ standby: 's', dry_run: true }, { standby: 's', force: true, dry_run: true }]);
    expect(calls.at(-1)).toEqual({ standby: 's', force: true });
  });

  it('says why a fail-over would be refused', async () => {
    const refuse = () => {
      throw new Refusal('web-1 is running');
    };
    await show(<StandbyPage />, { answers: { ...answers, 'standby.fail_over': refuse }, ...at });
    await userEvent.click(await menu('Fail over'));
    expect(await (await dialog()).findByText('web-1 is running')).toBeTruthy();
  });

  it('is failed back to with the time that the guest has', async () => {
    const shown = await show(<StandbyPage />, { answers, ...at });
    await userEvent.click(await menu('Fail back'));
    const form = await dialog();
    const button = form.getByRole('button', { name: 'Fail back' });
    await userEvent.click(form.getByRole('button', { name: 'More' }));
    expect(button.hasAttribute('disabled')).toBe(true);
    await userEvent.type(form.getByRole('textbox'), 'web-1-standby');
    expect(await serious()).toEqual([]);
    await userEvent.click(button);
    expect(shown.calls('standby.fail_back')).toEqual([{ standby: 's', deadline_s: 180 }]);
  });

  it('follows at once by itself, and asks where something would be lost', async () => {
    const shown = await show(<StandbyPage />, { answers, ...at });
    await userEvent.click(await menu('Follow now'));
    expect(shown.calls('standby.follow')).toEqual([{ standby: 's' }]);
    shown.unmount();
    const fell = await show(<StandbyPage />, { answers: { ...answers, 'standby.get': standby({ ...incomplete, automatic: false }) }, ...at });
    expect(await screen.findByText(/web-1 took over from it/)).toBeTruthy();
    await userEvent.click(await menu('Follow now'));
    const ask = await dialog();
    expect(ask.getByRole('button', { name: 'Follow' }).hasAttribute('disabled')).toBe(true);
    await userEvent.type(ask.getByRole('textbox'), 'web-1-standby');
    await userEvent.click(ask.getByRole('button', { name: 'Follow' }));
    expect(fell.calls('standby.follow')).toEqual([{ standby: 's' }]);
  });

  it('is tested by a proof of the backup that it holds', async () => {
    const shown = await show(<StandbyPage />, { answers, ...at });
    await userEvent.click(await menu('Prove what it holds'));
    expect(shown.calls('backup.prove')).toEqual([{ backup: 'b1', repository: 'r' }]);
  });

  it('is released, and deleted once its name was typed', async () => {
    const shown = await show(<StandbyPage />, { answers, ...at });
    await userEvent.click(await menu('Delete'));
    const ask = await dialog();
    expect(ask.getByRole('button', { name: 'Delete' }).hasAttribute('disabled')).toBe(true);
    await userEvent.click(ask.getByRole('button', { name: 'Cancel' }));
    await userEvent.click(await menu('Release'));
    await userEvent.click((await dialog()).getByRole('button', { name: 'Release' }));
    expect(shown.calls('standby.release')).toEqual([{ standby: 's' }]);
    expect(shown.calls('standby.delete')).toEqual([]);
    await waitFor(() => expect(shown.address()).toBe('/standbys'));
  });

  it.each<[string, Partial<Standby>, string[]]>([
    ['that is worked on', { status: 'busy' }, ['Follow now', 'Fail back', 'Fail over', 'Release', 'Delete']],
    ['that holds nothing', incomplete, ['Prove what it holds', 'Fail over']],
    ['of a deleted VM', { of_name: null }, ['Fail back']],
  ])('%s cannot do everything', async (_name, more, cannot) => {
    await show(<StandbyPage />, { answers: { ...answers, 'standby.get': standby(more) }, ...at });
    await menu('Delete');
    const off = screen.getAllByRole('menuitem').filter((item) => item.getAttribute('aria-disabled') === 'true');
    expect(off.map(({ textContent }) => cannot.find((verb) => textContent?.startsWith(verb)))).toEqual(cannot);
  });

  it('of which nothing can be read says so, and the list may be empty', async () => {
    const broken = () => {
      throw new Refusal('there is no standby s', 'not-found');
    };
    const shown = await show(<StandbyPage />, { answers: { ...answers, 'standby.get': broken }, ...at });
    expect(await screen.findByText('there is no standby s')).toBeTruthy();
    shown.unmount();
    await show(<Standbys />, { answers: { ...answers, 'standby.list': page([]) } });
    expect(await screen.findByText('No standbys yet')).toBeTruthy();
  });
});

describe('a new standby', () => {
  it('says only what was chosen', () => {
    const draft = { ...EMPTY_STANDBY, host: 'h2', repository: 'r' };
    expect(createStandby('v', draft)).toEqual({ vm: 'v', host: 'h2', repository: 'r' });
    expect(createStandby('v', { ...draft, sr: 'x', name: 'n', keepMacs: true, networks: { lan: 'dmz', san: 'none', wan: '' } })).toEqual({ vm: 'v', host: 'h2', repository: 'r', sr: 'x', name: 'n', keep_macs: true, networks: { lan: 'dmz', san: '' } });
    expect([standbyReady('v', draft), standbyReady(undefined, draft), standbyReady('v', EMPTY_STANDBY), standbyReady('v', { ...draft, name: 'a b' })]).toEqual([true, false, false, false]);
  });

  it('is made of the VM in the address, with networks of the other pool', async () => {
    const shown = await show(<NewStandby />, { answers, at: '/standbys/new?vm=v', route: '/standbys/new' });
    await screen.findByRole('option', { name: 'xen1 (here)' });
    await userEvent.selectOptions(screen.getByRole('combobox', { name: 'Host' }), 'h1');
    expect(await screen.findByText('The VM is on this host: both would be lost with it.')).toBeTruthy();
    await userEvent.selectOptions(screen.getByRole('combobox', { name: 'Host' }), 'h2');
    await userEvent.selectOptions(screen.getByRole('combobox', { name: 'In place of lan' }), 'dmz');
    await userEvent.selectOptions(screen.getByRole('combobox', { name: 'Repository' }), 'r');
    expect(await serious()).toEqual([]);
    await waitFor(() => expect(shown.address()).toBe('/standbys/new?vm=v&host=h2&repository=r&networks=lan%3Admz'));
    await userEvent.click(screen.getByRole('button', { name: 'Make it' }));
    expect(shown.calls('standby.create')).toEqual([{ vm: 'v', host: 'h2', repository: 'r', networks: { lan: 'dmz' } }]);
    await waitFor(() => expect(shown.address()).toBe('/standbys/s'));
  });

  it('is not for everybody', async () => {
    await show(<NewStandby />, { answers, user: somebody('viewer') });
    expect(await screen.findByText('This needs the role operator.')).toBeTruthy();
  });
});
