// A day shows what ran, what was proved that day, and what comes.

import { render, screen } from '@testing-library/react';
import { MemoryRouter } from 'react-router';
import { describe, expect, it } from 'vitest';
import type { BackupJob, BackupRun } from '../../api/generated';
import { DayCell } from './DayCell';
import { month } from './month';

const at = (day: number) => new Date(2026, 1, day, 12).toISOString();
const run = (id: string, day: number, proofs: [day: number, answered: boolean][]) =>
  ({
    id,
    job_name: 'nightly',
    status: 'done',
    started: at(day),
    ended: at(day),
    vms: [],
    proofs: proofs.map(([day, answered], number) => ({ vm: `v${number}`, name: 'mail', proof: { at: at(day), answered, said: '', seconds: 1 } })),
  }) as unknown as BackupRun;
const job = { id: 'j', name: 'nightly', enabled: true, prove: 1, next_run: at(12) } as unknown as BackupJob;
const runs = [run('r1', 10, [[10, true]]), run('r2', 11, [[11, true], [11, false]]), run('r3', 9, [])];

function shown(day: number) {
  const found = month(2026, 2).find(({ inside, date }) => inside && date.getDate() === day);
  if (!found) throw new Error('no such day');
  const { unmount } = render(
    <MemoryRouter>
      <DayCell day={found} runs={runs} jobs={[job]} />
    </MemoryRouter>,
  );
  const links = screen.queryAllByRole('link').map((link) => [link.getAttribute('href'), link.className, link.title]);
  unmount();
  return links;
}

describe('a day of the calendar', () => {
  it.each([
    [9, [['/runs/r3', 'x-run x-run-done', 'Begun']]],
    [
      10,
      [
        ['/runs/r1', 'x-run x-run-done', 'Begun'],
        ['/runs/r1', 'x-run x-run-done', 'Every proof was passed'],
      ],
    ],
    [
      11,
      [
        ['/runs/r2', 'x-run x-run-done', 'Begun'],
        ['/runs/r2', 'x-run x-run-failed', 'A proof failed'],
      ],
    ],
    [12, [['/jobs/j', 'x-run x-run-next', 'Next run']]],
    [13, []],
  ])('%i', (day, links) => expect(shown(day)).toEqual(links));
});
