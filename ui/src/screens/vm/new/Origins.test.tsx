// A VM from what is there: the wizard leads to the form of each.

import { screen, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { Template } from '../../../api/generated';
import { page, serious, show, somebody, type Answers } from '../../../testing/show';
import NewVm from './NewVm';

const template = (id: string, ready: boolean) => ({ id, name: id, ready, disks: [] }) as unknown as Template;
const answers: Answers = { 'template.list': page([template('debian', true), template('coming', false)]), 'pool.list': page([]), 'iso.list': page([]) };

describe('a new VM', () => {
  it('from a template that is ready has the form of that', async () => {
    const shown = await show(<NewVm />, { answers, at: '/vms/new', route: '/vms/new' });
    const field = await screen.findByLabelText('From a template');
    expect(within(field).getAllByRole('option').map(({ textContent }) => textContent)).toEqual(['None: as described below', 'debian']);
    expect(await serious()).toEqual([]);
    await userEvent.selectOptions(field, 'debian');
    await userEvent.click(screen.getByRole('button', { name: 'Use the template' }));
    expect(shown.address()).toBe('/templates/debian/deploy');
  });

  it('from something else is only offered to who may', async () => {
    await show(<NewVm />, { answers, at: '/vms/new', route: '/vms/new', user: somebody('operator') });
    await screen.findByLabelText('From a template');
    expect(screen.queryByRole('link', { name: 'VMware' })).toBeNull();
  });
});
