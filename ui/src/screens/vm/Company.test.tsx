// The company of a VM: by names, changed where it differs, and taken back by what it was.

import { screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { Vm } from '../../api/generated';
import { page, serious, show, type Answers } from '../../testing/show';
import { companyBack, CompanyCard, companyParams } from './Company';

const vm = { id: 'v', name: 'db-1', pool: 'p', apart_from: ['a'] } as unknown as Vm;
const answers: Answers = { 'vm.list': page([{ id: 'a', name: 'db-2' }] as never[]), 'vm.update': { task: 't' } };

describe('the company of a VM', () => {
  it.each<[string, { together: string; apart: string }, object]>([
    ['that stays is not sent', { together: '', apart: 'db-2' }, { vm: 'v' }],
    ['in another order is the same', { together: '', apart: ' db-2, ' }, { vm: 'v' }],
    ['that is added', { together: 'web-1 web-2', apart: 'db-2' }, { vm: 'v', together_with: ['web-1', 'web-2'] }],
    ['that is taken away', { together: '', apart: '' }, { vm: 'v', apart_from: [] }],
  ])('%s', (_name, after, params) => expect(companyParams('v', { together: '', apart: 'db-2' }, after)).toEqual(params));

  it('is taken back where it was changed, and nowhere else', () => {
    expect(companyBack(vm, { vm: 'v', together_with: ['web-1'] })).toEqual({ vm: 'v', together_with: [] });
    expect(companyBack(vm, { vm: 'v', apart_from: [] })).toEqual({ vm: 'v', apart_from: ['a'] });
  });

  it('is shown by name, and changed', async () => {
    const shown = await show(<CompanyCard vm={vm} />, { answers });
    expect((await screen.findByRole('link', { name: 'db-2' })).getAttribute('href')).toBe('/vms/a');
    await userEvent.click(screen.getByRole('button', { name: 'Change: Company' }));
    const dialog = within(await screen.findByRole('dialog'));
    const change = dialog.getByRole('button', { name: 'Change' });
    expect(change.hasAttribute('disabled')).toBe(true);
    await userEvent.type(dialog.getByRole('textbox', { name: 'Rather with' }), 'db-2');
    expect(dialog.getByText('These are in both: db-2')).toBeTruthy();
    expect(change.hasAttribute('disabled')).toBe(true);
    await userEvent.clear(dialog.getByRole('textbox', { name: 'Rather with' }));
    await userEvent.type(dialog.getByRole('textbox', { name: 'Rather with' }), 'web-1');
    expect(await serious()).toEqual([]);
    await userEvent.click(change);
    await waitFor(() => expect(shown.calls('vm.update')).toEqual([{ vm: 'v', together_with: ['web-1'] }]));
  });

  it('is changed by nobody who may not, and says why', async () => {
    await show(<CompanyCard vm={vm} why="This needs the role operator." />, { answers });
    const button = await screen.findByRole('button', { name: 'Change: Company' });
    expect(button.getAttribute('aria-disabled')).toBe('true');
    expect(button.getAttribute('aria-description')).toBe('This needs the role operator.');
  });
});
