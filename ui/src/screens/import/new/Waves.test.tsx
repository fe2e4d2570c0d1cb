// A plan in waves: shown, planned anew when it is asked for, and kept wave by wave with the ids of its VMs.

import { screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { ImportPlan, SourceVm, Wave } from '../../../api/generated';
import { serious, show } from '../../../testing/show';
import { EMPTY_IMPORT, plannedWave, type ImportDraft } from './draft';
import { Waves } from './Waves';

const vm = (id: string, name: string) => ({ id, name, networks: ['VM Network'] }) as unknown as SourceVm;
const draft: ImportDraft = { ...EMPTY_IMPORT, source: 's', vms: [vm('vm-1', 'web'), vm('vm-2', 'db'), vm('vm-3', 'big')] };
const wave = { criticality: 0, best_seconds: 3000, worst_seconds: 7200, narrowest: 'line', transfer_mib: 1024 };
const plan: ImportPlan = {
  blocked: [],
  freed: [{ after_seconds: 3600, after_wave: 1, hosts: ['esx1'] }],
  notes: ['rates vary by a third'],
  total_mib: 3072,
  vms: [],
  waves: [
    { ...wave, number: 1, seconds: 3600, exceeds_window: false, vms: ['db', 'web'] },
    { ...wave, number: 2, seconds: 90_000, exceeds_window: true, vms: ['big'] },
  ],
};

describe('a plan in waves', () => {
  it('is kept in its order, by what is unique', () => {
    expect(plannedWave(draft, 'move', { number: 1, vms: ['db', 'web'] }, new Date(0))).toMatchObject({ name: 'move-1', source: 's', vms: ['vm-2', 'vm-1'] });
  });

  it('is asked for when it is looked at, and again when its limits are other ones', async () => {
    const shown = await show(<Waves draft={draft} />, { answers: { 'import.plan': plan, 'wave.create': { id: 'w' } as Wave } });
    expect(shown.calls('import.plan')).toEqual([]);
    await userEvent.click(screen.getByRole('button', { name: 'In waves that fit into migration windows' }));
    await screen.findByText('More than a window: 2');
    expect(screen.getByText(/esx1/)).toBeTruthy();
    expect(shown.calls('import.plan')).toEqual([{ source: 's', vms: ['vm-1', 'vm-2', 'vm-3'], window_hours: 8, max_vms: 100, line_mib_s: 800 }]);
    expect(await serious()).toEqual([]);

    const hours = screen.getByRole('spinbutton', { name: 'Hours of a window' });
    await userEvent.clear(hours);
    await userEvent.type(hours, '4');
    expect(shown.calls('import.plan')).toHaveLength(1);
    await userEvent.click(screen.getByRole('button', { name: 'Plan again' }));
    await waitFor(() => expect(shown.calls('import.plan').at(-1)).toMatchObject({ window_hours: 4 }));

    await userEvent.type(await screen.findByRole('textbox', { name: 'Name of the waves' }), 'move');
    await userEvent.click(screen.getByRole('button', { name: 'Keep these waves' }));
    const dialog = within(await screen.findByRole('dialog'));
    await userEvent.click(dialog.getByRole('button', { name: 'Create' }));
    await waitFor(() => expect(shown.calls('wave.create').map(({ name, vms }) => [name, vms])).toEqual([['move-1', ['vm-2', 'vm-1']], ['move-2', ['vm-3']]]));
  });
});
