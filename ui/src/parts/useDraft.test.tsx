// The address follows what is typed, and never takes back who has gone.

import { act, cleanup, fireEvent, render, screen, waitFor } from '@testing-library/react';
import { BrowserRouter } from 'react-router';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { text } from './kept';
import { useDraft } from './useDraft';

const EMPTY = { name: '', password: '' };

function Form() {
  const { draft, set, step, go } = useDraft(EMPTY, { name: text });
  return (
    <>
      <input aria-label="name" value={draft.name} onChange={({ target }) => set({ name: target.value })} />
      <input aria-label="password" value={draft.password} onChange={({ target }) => set({ password: target.value })} />
      <button onClick={() => go('two')}>at {step || 'one'}</button>
    </>
  );
}

const begin = (search: string) => {
  history.pushState(null, '', `/form${search}`);
  render(<Form />, { wrapper: BrowserRouter });
};
const type = (field: string, value: string) => fireEvent.change(screen.getByLabelText(field), { target: { value } });
const name = () => screen.getByLabelText<HTMLInputElement>('name').value;

afterEach(() => {
  cleanup();
  vi.useRealTimers();
});

describe('a form that is kept in its address', () => {
  it('is written when the typing rests, without an entry for each key', async () => {
    begin('?lang=fr&q=a b');
    const before = history.length;
    for (const typed of ['w', 'we', 'web']) type('name', typed);
    type('password', 'secret');
    expect(location.search).toBe('?lang=fr&q=a%20b');
    await waitFor(() => expect(location.search).toBe('?lang=fr&q=a+b&name=web'));
    expect(history.length).toBe(before);
  });

  it('has what was typed last in the step that is left, and goes back to it', async () => {
    begin('');
    type('name', 'web');
    fireEvent.click(screen.getByText('at one'));
    expect(location.search).toBe('?step=two&name=web');
    await screen.findByText('at two');
    type('name', 'web-2');
    await act(async () => history.back());
    await screen.findByText('at one');
    expect(name()).toBe('web-2');
    await waitFor(() => expect(location.search).toBe('?name=web-2'));
  });

  it('does not take back who has left while the next page is loaded', () => {
    vi.useFakeTimers();
    begin('');
    type('name', 'web');
    history.pushState({ idx: 1 }, '', '/elsewhere');
    vi.advanceTimersByTime(5000);
    expect(location.pathname + location.search).toBe('/elsewhere');
  });
});
