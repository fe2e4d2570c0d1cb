// Repositories: that a limit is sent in the API's units, and only what was changed.

import { fireEvent, screen, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { Repository } from '../../api/generated';
import { page, show } from '../../testing/show';
import Repositories from './Repositories';

const nas: Repository = { id: 'r', name: 'nas', place: { kind: 'folder', path: '/mnt/nas' }, concurrency: 2, bandwidth: 0 };

describe('the limits of a repository', () => {
  it('are sent in bytes, and only those that changed', async () => {
    const shown = await show(<Repositories />, { answers: { 'repository.list': page([nas]), 'repository.update': nas } });
    await userEvent.click(await screen.findByRole('button', { name: 'Actions for nas' }));
    await userEvent.click(await screen.findByRole('menuitem', { name: /^Limits/ }));
    const dialog = within(await screen.findByRole('dialog'));
    const change = dialog.getByRole('button', { name: 'Change' });
    expect((change as HTMLButtonElement).disabled).toBe(true);
    fireEvent.change(dialog.getByRole('spinbutton', { name: 'MiB a second' }), { target: { value: '50' } });
    await userEvent.click(change);
    expect(shown.calls('repository.update')).toEqual([{ repository: 'r', bandwidth: 52_428_800 }]);
  });
});
