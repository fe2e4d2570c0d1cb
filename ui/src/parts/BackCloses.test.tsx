// The browser's Back closes what is open and stays; what closed dialogs have left in the history is not seen.

import { ModalBody } from '@patternfly/react-core';
import { act, cleanup, render, screen, waitFor } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { useState } from 'react';
import { BrowserRouter, Link, Route, Routes } from 'react-router';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startLanguages } from '../i18n';
import { PassesOver } from './BackCloses';
import { Modal } from './Modal';

function Dialog({ name, close, children }: { name: string; close(): void; children?: React.ReactNode }) {
  return (
    <Modal isOpen onClose={close} aria-label={name}>
      <ModalBody>
        <button onClick={close}>leave {name}</button>
        {children}
      </ModalBody>
    </Modal>
  );
}

function Page() {
  const [open, setOpen] = useState<string[]>([]);
  const close = (name: string) => setOpen((before) => before.filter((one) => one !== name));
  return (
    <>
      <h1>page</h1>
      <button onClick={() => setOpen(['first'])}>open first</button>
      <Link to="/next">next</Link>
      {open.includes('first') && (
        <Dialog name="first" close={() => close('first')}>
          <button onClick={() => setOpen(['first', 'second'])}>open second</button>
          <button onClick={() => setOpen(['second'])}>instead</button>
        </Dialog>
      )}
      {open.includes('second') && (
        <Dialog name="second" close={() => close('second')}>
          <Link to="/next" onClick={() => close('second')}>
            on
          </Link>
        </Dialog>
      )}
    </>
  );
}

const press = async (name: string) => userEvent.click(await screen.findByText(name));
const back = () => act(async () => history.back());
const heading = () => screen.queryByRole('heading', { hidden: true })?.textContent;
const shown = () => screen.queryAllByRole('dialog', { hidden: true }).map((dialog) => dialog.getAttribute('aria-label'));

describe('Back', () => {
  beforeEach(async () => {
    await startLanguages('en');
    history.pushState(null, '', '/start');
    render(
      <BrowserRouter>
        <Routes>
          <Route path="/start" element={<Link to="/page">go</Link>} />
          <Route path="/page" element={<Page />} />
          <Route path="/next" element={<h1>next</h1>} />
        </Routes>
        <PassesOver />
      </BrowserRouter>,
    );
    await press('go');
    await press('open first');
    await waitFor(() => expect(shown()).toEqual(['first']));
  });
  afterEach(cleanup);

  it('closes a dialog, and then leaves the page', async () => {
    await back();
    await waitFor(() => expect(shown()).toEqual([]));
    expect(heading()).toBe('page');
    await back();
    expect(await screen.findByText('go')).toBeTruthy();
  });

  it('leaves the page at once when the dialog was closed by its button, however often', async () => {
    await press('leave first');
    await press('open first');
    await press('leave first');
    await waitFor(() => expect(shown()).toEqual([]));
    await back();
    expect(await screen.findByText('go')).toBeTruthy();
  });

  it('closes one dialog of two', async () => {
    await press('open second');
    await waitFor(() => expect(shown()).toEqual(['first', 'second']));
    await back();
    await waitFor(() => expect(shown()).toEqual(['first']));
    await back();
    await waitFor(() => expect(shown()).toEqual([]));
    expect(heading()).toBe('page');
  });

  it('closes the dialog that came in place of another', async () => {
    await press('instead');
    await waitFor(() => expect(shown()).toEqual(['second']));
    await back();
    await waitFor(() => expect(shown()).toEqual([]));
    expect(heading()).toBe('page');
  });

  it('comes back to the page that was left out of a dialog, and leaves that with the next', async () => {
    await press('instead');
    await press('on');
    await waitFor(() => expect(heading()).toBe('next'));
    await back();
    await waitFor(() => expect(heading()).toBe('page'));
    expect(shown()).toEqual([]);
    await back();
    expect(await screen.findByText('go')).toBeTruthy();
  });
});
