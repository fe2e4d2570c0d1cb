// A list of a hundred thousand: what was scrolled past is dropped, and comes back; reading again costs no more than it.

import { screen, waitFor } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it, vi } from 'vitest';
import { refresh } from '../api/client';
import type { VmRow } from '../api/generated';
import { show, type Answers } from '../testing/show';
import { markOf, mostPages, usePages, type Mark } from './pages';
import { VirtualTable } from './VirtualTable';

const TOTAL = 100_000;
const named = (index: number) => ({ id: `v${index}`, name: `vm-${index}` }) as VmRow;
const answers: Answers = {
  'vm.list': ({ cursor, limit }) => {
    const from = Number(cursor ?? 0);
    const to = Math.min(TOTAL, from + (limit ?? 0));
    return { items: Array.from({ length: to - from }, (_, at) => named(from + at)), total: TOTAL, next: to < TOTAL ? String(to) : null };
  },
};

function Probe({ back }: { back: number[] }) {
  const pages = usePages('vm.list', { filter: '', sort: '' });
  return (
    <>
      <output>{`${pages.offset} + ${pages.rows.length}: ${pages.rows[0]?.name} to ${pages.rows.at(-1)?.name}`}</output>
      <button onClick={() => pages.more?.()}>more</button>
      {back.map((index) => (
        <button key={index} onClick={() => pages.back?.(index)}>{`back to ${index}`}</button>
      ))}
    </>
  );
}

const press = (name: string) => userEvent.click(screen.getByRole('button', { name }));

describe('pages', () => {
  it('keep a stretch of the list, whichever way one scrolls', async () => {
    const shown = await show(<Probe back={[950, 10]} />, { answers });
    await screen.findByText('0 + 200: vm-0 to vm-199');
    for (let page = 2; page <= 15; page += 1) {
      await press('more');
      const dropped = Math.max(0, page - 10) * 200;
      await screen.findByText(`${dropped} + ${page * 200 - dropped}: vm-${dropped} to vm-${page * 200 - 1}`);
    }
    expect(shown.calls('vm.list')).toHaveLength(15);

    // All of it again is ten pages, not fifteen and never five hundred.
    refresh('vm');
    await waitFor(() => expect(shown.calls('vm.list')).toHaveLength(25));
    await screen.findByText('1000 + 2000: vm-1000 to vm-2999');

    // A little back is one page; far back does not read what is between.
    await press('back to 950');
    await screen.findByText('800 + 2000: vm-800 to vm-2799');
    await press('back to 10');
    await screen.findByText('0 + 200: vm-0 to vm-199');
    expect(shown.calls('vm.list')).toHaveLength(27);
    await press('more');
    await screen.findByText('0 + 400: vm-0 to vm-399');
  }, 60_000);

  it('are all kept while they are few, also where each is short', () => {
    const page = (rows: number) => ({ items: Array.from({ length: rows }), total: 0 });
    expect(mostPages(undefined)).toBeUndefined();
    expect(mostPages(Array.from({ length: 50 }, () => page(5)))).toBeUndefined();
    expect(mostPages([page(1000), page(1000)])).toBe(2);
  });

  it('are found on the way back', () => {
    const first: Mark = { cursor: undefined, start: 0 };
    const second: Mark = { cursor: 'b', start: 200, before: first };
    const third: Mark = { cursor: 'c', start: 230, before: second };
    expect([0, 199, 200, 229, 230, 999].map((index) => markOf(index, third).start)).toEqual([0, 0, 200, 200, 230, 230]);
  });
});

describe('a table of a stretch', () => {
  it('asks for what is in sight and before it, and shows no row at a wrong place', async () => {
    const back = vi.fn();
    const rows = Array.from({ length: 100 }, (_, at) => named(1000 + at));
    await show(<VirtualTable label="VMs" columns={[{ key: 'name', header: 'Name', cell: (vm) => vm.name, text: (vm) => vm.name }]} rows={rows} offset={1000} total={TOTAL} id={(vm) => vm.id} name={(vm) => vm.name} back={back} />);
    await waitFor(() => expect(back).toHaveBeenCalledWith(0));
    expect(screen.queryByText(/^vm-/)).toBeNull();
  });
});
