// Many rows at once: what the menu of one row does, for each of them, with a result for each.

import { screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { Network, Task } from '../api/generated';
import Networks from '../screens/network/Networks';
import { TaskList } from '../screens/task/TaskList';
import { page, Refusal, serious, show, somebody, type Answers } from '../testing/show';

const network = (id: string, name: string, pool = 'p') => ({ id, name, pool, bridge: `x-${name}`, uplink: { kind: 'private', vni: 1 } }) as unknown as Network;
const answers: Answers = {
  'network.list': page([network('1', 'lan'), network('2', 'dmz'), network('3', 'lab')]),
  'network.delete': ({ network }) => {
    if (network === '2') throw new Refusal('a VM uses it');
    return {};
  },
  'network.set_encryption': {} as never,
  'host.list': page([]),
  'pool.list': page([]),
};

const choose = async (name: string) => {
  await userEvent.click(await screen.findByRole('checkbox', { name: 'Select all that are shown' }));
  await userEvent.click(screen.getByRole('button', { name: 'With the selected' }));
  await userEvent.click(await screen.findByRole('menuitem', { name: new RegExp(`^${name}`) }));
  return within(await screen.findByRole('dialog'));
};

describe('many rows at once', () => {
  it('are lost only when their number is typed, and each says what came of it', async () => {
    const shown = await show(<Networks />, { answers });
    const dialog = await choose('Delete');
    const go = dialog.getByRole('button', { name: 'Delete' });
    expect(dialog.getAllByText('Will be done')).toHaveLength(3);
    expect(go.hasAttribute('disabled')).toBe(true);
    expect(await serious()).toEqual([]);
    await userEvent.type(dialog.getByRole('textbox', { name: /^Type 3 to go on/ }), '3');
    await userEvent.click(go);
    await waitFor(() => expect(dialog.getAllByText('Done')).toHaveLength(2));
    expect(dialog.getByText('a VM uses it')).toBeTruthy();
    expect(dialog.getByText('3 of 3')).toBeTruthy();
    expect(shown.calls('network.delete').map(({ network }) => network).sort()).toEqual(['1', '2', '3']);
    await userEvent.click(dialog.getByText('Close'));
    expect(screen.queryByText('3 selected')).toBeNull();
  });

  it('are copied as commands, one a line', async () => {
    await show(<Networks />, { answers });
    expect(await screen.findByRole('checkbox', { name: 'Select dmz' })).toBeTruthy();
    const dialog = await choose('Encrypt');
    await userEvent.click(dialog.getByRole('button', { name: 'Copy as …' }));
    const lines = await screen.findByText(/xenith network set-encryption 1 wireguard/);
    expect(lines.textContent?.split('\n')).toHaveLength(3);
  });

  it('tell of what was begun, though it is no longer to be done', async () => {
    const done = new Set<string>();
    const now = () => page(['1', '2'].map((id) => ({ ...network(id, `n${id}`), encryption: done.has(id) ? 'wireguard' : 'none' }) as Network));
    await show(<Networks />, { answers: { ...answers, 'network.list': now, 'network.set_encryption': ({ network }) => (done.add(network), {}) } });
    const dialog = await choose('Encrypt');
    await userEvent.click(dialog.getByRole('button', { name: 'Encrypt' }));
    await waitFor(() => expect(done.size).toBe(2));
    // The list behind it has been read again.
    await screen.findAllByRole('button', { name: /^Actions for n/, hidden: true });
    await new Promise((go) => setTimeout(go, 100));
    expect(dialog.getAllByText('Done')).toHaveLength(2);
    expect(dialog.queryByText(/^Left out/)).toBeNull();
  });

  it('leave out what may not be done, and say why', async () => {
    const user = { ...somebody(), bindings: [{ role: 'admin' as const, scope: { kind: 'pool' as const, value: 'p' } }] };
    const some = { ...answers, 'network.list': page([network('1', 'lan'), network('2', 'far', 'q')]) };
    const shown = await show(<Networks />, { answers: some, user });
    const dialog = await choose('Delete');
    expect(dialog.getByText(/^Left out: Your role admin does not reach/)).toBeTruthy();
    await userEvent.type(dialog.getByRole('textbox', { name: /^Type 1 to go on/ }), '1{Enter}');
    await waitFor(() => expect(shown.calls('network.delete')).toEqual([{ network: '1' }]));
  });

  it('leave out what is in another state', async () => {
    const task = (id: string, status: Task['status']) => ({ id, title: id, status, subjects: [], steps: [], percent: 5, created: '2026-01-01T00:00:00Z' }) as unknown as Task;
    const shown = await show(<TaskList />, { answers: { 'task.list': page([task('stuck', 'parked'), task('over', 'done')]), 'task.retry': {} as never } });
    const dialog = await choose('Retry');
    expect(dialog.getByText(/^Left out: As it is/)).toBeTruthy();
    await userEvent.click(dialog.getByRole('button', { name: 'Retry' }));
    await waitFor(() => expect(shown.calls('task.retry')).toEqual([{ task: 'stuck' }]));
  });
});
