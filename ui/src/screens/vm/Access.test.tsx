// Who may do what with a VM: as the orchestrator tells it of each user, as far as their roles reach the VM.

import { screen, within } from '@testing-library/react';
import { describe, expect, it } from 'vitest';
import type { Binding, Covered, Permission, User, UserAccess, Vm } from '../../api/generated';
import { page, serious, show, somebody, type Answers } from '../../testing/show';
import { Access } from './Access';

const vm = { id: 'v', name: 'web-1', pool: 'p', tags: ['dev'] } as Vm;
const on: Covered = { everything: false, pools: 0, hosts: 0, srs: 0, networks: 0, vms: 1 };
const tag = (value: string): Binding => ({ role: 'operator', scope: { kind: 'tag', value } });
const user = (id: string, ...bindings: Binding[]): User => ({ ...somebody(), id, name: id, bindings });
const may = (id: string, binding: Binding, permissions: Permission[], barred?: UserAccess['barred']): UserAccess => ({
  user: id,
  name: id,
  barred,
  permissions: permissions.map((permission) => ({ permission, methods: [], on, grounds: [{ binding, on }] })),
});

// What roles allow is the orchestrator's: here `operator` allows less than it is used to.
const told: Record<string, UserAccess> = {
  anna: may('anna', tag('dev'), ['view', 'operate']),
  bert: may('bert', tag('dev'), ['view', 'operate', 'provision'], 'second-factor-due'),
};
const answers: Answers = {
  'user.list': page([user('anna', tag('dev')), user('bert', tag('dev')), user('carl', tag('prod'))]),
  'user.access': ({ user }) => told[user ?? 'anna'],
  'host.list': page([]),
  'pool.list': page([]),
  'network.list': page([]),
};

const row = async (name: string) => within((await screen.findByText(name)).closest('tr') as HTMLElement);

describe('access to a VM', () => {
  it('is what the orchestrator tells of each user whom a role brings here', async () => {
    const shown = await show(<Access vm={vm} />, { answers });
    const anna = await row('anna');
    expect(await anna.findAllByText('yes')).toHaveLength(2);
    expect(anna.getAllByText('no')).toHaveLength(1);
    const bert = await row('bert');
    expect(await bert.findByText('has to set up two-factor sign-in first')).toBeTruthy();
    expect(bert.queryByText('yes')).toBeNull();
    expect(screen.queryByText('carl')).toBeNull();
    expect(screen.getByText('Users whom no role brings here: 1')).toBeTruthy();
    expect(shown.calls('user.access').map(({ user }) => user)).toEqual(['anna', 'bert']);
    expect(await serious()).toEqual([]);
  });

  it('is one’s own for who may not ask about others', async () => {
    const me = { ...somebody('operator'), id: 'anna', name: 'anna', bindings: [tag('dev')] };
    const shown = await show(<Access vm={vm} />, { answers, user: me });
    expect(await (await row('anna')).findAllByText('yes')).toHaveLength(2);
    expect(shown.calls('user.list')).toEqual([]);
    expect(shown.calls('user.access')).toEqual([{}]);
  });
});
