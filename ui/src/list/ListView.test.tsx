// A list that comes while somebody is about to press something.

import { act, screen } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { useState } from 'react';
import { describe, expect, it } from 'vitest';
import { ApiError, Unreachable } from '../api/errors';
import { CreateButton } from '../parts/CreateButton';
import { Nothing } from '../parts/feedback';
import { show } from '../testing/show';
import { ListView } from './ListView';
import type { Pages } from './pages';

const come = (rows: string[]): Pages<string> => ({ rows, total: rows.length, pending: false, error: null, retry: () => undefined, everything: () => Promise.resolve(rows) });

let turn: (pages: Pages<string>) => void;
let made: number;

function Screen() {
  const [pages, setPages] = useState<Pages<string>>({ ...come([]), pending: true });
  turn = setPages;
  return (
    <ListView
      title="Things"
      noun="things"
      columns={[{ key: 'name', header: 'Name', cell: (row: string) => row, text: (row: string) => row }]}
      pages={pages}
      id={(row) => row}
      name={(row) => row}
      query={<input aria-label="Filter" />}
      create={<CreateButton label="Create a thing" go={() => (made += 1)} />}
      empty={<Nothing title="No things yet">Make one.</Nothing>}
    />
  );
}

const create = () => screen.getByRole('button', { name: 'Create a thing' });

describe('a list that comes', () => {
  it.each([
    ['some', ['web', 'db'], 'db'],
    ['none', [], 'No things yet'],
  ])('takes a click that began before: %s', async (_how, rows, seen) => {
    made = 0;
    await show(<Screen />);
    const user = userEvent.setup();
    await user.pointer({ keys: '[MouseLeft>]', target: create() });
    act(() => turn(come(rows)));
    await screen.findByText(seen);
    await user.pointer({ keys: '[/MouseLeft]', target: create() });
    expect(made).toBe(1);
  });

  it('keeps its rows when it cannot be read again, and says so unless the connection is lost', async () => {
    await show(<Screen />);
    act(() => turn({ ...come(['web']), error: new ApiError({ code: 1, message: 'the store is gone', data: { reason: 'internal' } }) }));
    expect(await screen.findByText('web')).toBeTruthy();
    expect(screen.getByText('The list could not be read again')).toBeTruthy();
    expect(screen.getByText('the store is gone')).toBeTruthy();
    act(() => turn({ ...come(['web']), error: new Unreachable() }));
    expect(screen.queryByText('The list could not be read again')).toBeNull();
    expect(screen.getByText('web')).toBeTruthy();
  });

  it('keeps what somebody types into the query bar', async () => {
    await show(<Screen />);
    const user = userEvent.setup();
    await user.type(screen.getByRole('textbox', { name: 'Filter' }), 'we');
    act(() => turn(come(['web'])));
    await screen.findByText('web');
    await user.keyboard('b');
    expect(screen.getByRole<HTMLInputElement>('textbox', { name: 'Filter' }).value).toBe('web');
  });
});
