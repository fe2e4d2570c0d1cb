// Going somewhere is said, and the keys begin there.

import { screen, waitFor } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { Link, useLocation } from 'react-router';
import { describe, expect, it } from 'vitest';
import { PageTitle } from '../parts/PageTitle';
import { show } from '../testing/show';
import { Arrival } from './Arrival';
import { TopBar } from './TopBar';

const TITLES: Record<string, string> = { '/one': 'One', '/two': 'Two' };

function Frame({ stays }: { stays: boolean }) {
  const { pathname } = useLocation();
  return (
    <>
      {stays && <Link to="/two">the other</Link>}
      <main id="main" tabIndex={-1}>
        <PageTitle key={pathname}>{TITLES[pathname] ?? ''}</PageTitle>
        {!stays && pathname === '/one' && <Link to="/two">the other</Link>}
      </main>
      <Arrival />
    </>
  );
}

describe('a page that one goes to', () => {
  it('is said by its title, and not the first one', async () => {
    await show(<Frame stays />, { at: '/one' });
    const said = screen.getByRole('status');
    expect(said.textContent).toBe('');
    const link = screen.getByRole('link', { name: 'the other' });
    await userEvent.click(link);
    await waitFor(() => expect(said.textContent).toBe('Two'));
    // It is still there.
    expect(document.activeElement).toBe(link);
  });

  it('has the focus where what had it is gone', async () => {
    await show(<Frame stays={false} />, { at: '/one' });
    await userEvent.click(screen.getByRole('link', { name: 'the other' }));
    await waitFor(() => expect(document.activeElement).toBe(document.getElementById('main')));
  });
});

describe('the connection', () => {
  it('is said to be lost and to be back, once each', async () => {
    const answers = { 'alarm.list': { items: [], total: 0, next: null } };
    const shown = await show(<TopBar leave={() => undefined} drawer={false} toggleDrawer={() => undefined} />, { answers });
    await screen.findByText('Live');
    shown.cut();
    expect(await screen.findByText('The connection is lost.')).toBeTruthy();
    expect(await screen.findByText('The connection is back.')).toBeTruthy();
    expect(screen.getByText('Live')).toBeTruthy();
  });
});
