// A screen that breaks is left by going elsewhere.

import { screen } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { Link, useLocation } from 'react-router';
import { describe, expect, it, vi } from 'vitest';
import { show } from '../testing/show';
import { ErrorBoundary } from './ErrorBoundary';

function Screen() {
  if (useLocation().pathname === '/broken') throw new Error('it broke');
  return <p>fine</p>;
}

function Frame() {
  const { pathname } = useLocation();
  return (
    <>
      <Link to="/fine">elsewhere</Link>
      <ErrorBoundary at={pathname}>
        <Screen />
      </ErrorBoundary>
    </>
  );
}

describe('a screen that breaks', () => {
  it('says so, and does not stay', async () => {
    const quiet = vi.spyOn(console, 'error').mockImplementation(() => undefined);
    await show(<Frame />, { at: '/broken' });
    expect(await screen.findByText('it broke')).toBeTruthy();
    await userEvent.click(screen.getByRole('link', { name: 'elsewhere' }));
    expect(await screen.findByText('fine')).toBeTruthy();
    expect(screen.queryByText('it broke')).toBeNull();
    quiet.mockRestore();
  });
});
