// What could not be reached when the page was opened is asked again when the connection is there, as its message says.

import { act, render, screen } from '@testing-library/react';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { App } from './App';
import { socket } from './api/client';
import { Unreachable } from './api/errors';
import { startLanguages } from './i18n';
import { somebody } from './testing/show';

vi.mock('./shell/Shell', () => ({ Shell: () => <p>inside</p> }));

describe('the page', () => {
  afterEach(() => vi.restoreAllMocks());

  it('opens by itself once the orchestrator answers', async () => {
    await startLanguages('en');
    const listeners = new Set<() => void>();
    vi.spyOn(socket, 'open').mockImplementation(() => undefined);
    vi.spyOn(socket, 'close').mockImplementation(() => undefined);
    vi.spyOn(socket, 'watch').mockImplementation((listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    });
    const call = vi.spyOn(socket, 'call').mockRejectedValueOnce(new Unreachable());
    call.mockResolvedValue(somebody() as never);
    render(<App />);
    expect(await screen.findByText('The orchestrator does not answer.')).toBeTruthy();
    socket.link = 'lost';
    act(() => listeners.forEach((listener) => listener()));
    expect(call).toHaveBeenCalledOnce();
    socket.link = 'open';
    act(() => listeners.forEach((listener) => listener()));
    expect(await screen.findByText('inside')).toBeTruthy();
    socket.link = 'closed';
  });
});
