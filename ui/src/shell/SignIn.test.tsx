// Signing in: a code is asked for where the orchestrator wants one, and goes with name and password.

import { screen, waitFor } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { serious, show, somebody } from '../testing/show';
import { SignIn } from './SignIn';

type Answer = { reason: string; field?: string; message: string } | 'in';

/** Answers one after the other; what was sent is returned. */
function orchestrator(...answers: Answer[]) {
  const sent: unknown[] = [];
  vi.stubGlobal('fetch', (_path: string, { body }: { body: string }) => {
    sent.push(JSON.parse(body));
    const answer = answers.shift() ?? 'in';
    if (answer === 'in') return Promise.resolve(new Response(JSON.stringify({ user: somebody() })));
    const { message, ...data } = answer;
    return Promise.resolve(new Response(JSON.stringify({ error: { code: 0, message, data } }), { status: 400 }));
  });
  return sent;
}

const WANTED: Answer = { reason: 'invalid', field: 'code', message: 'code: give the code' };
const WRONG: Answer = { reason: 'unauthenticated', field: 'code', message: 'the code is wrong' };

async function password() {
  await userEvent.type(screen.getByRole('textbox', { name: /^User name/ }), 'dora');
  await userEvent.type(screen.getByLabelText(/^Password/), 'secret');
  await userEvent.click(screen.getByRole('button', { name: 'Sign in' }));
}

const codeField = () => screen.findByRole('textbox', { name: /^Code of dora/ });

describe('signing in', () => {
  afterEach(() => vi.unstubAllGlobals());

  it('takes a password alone where no code is wanted', async () => {
    const sent = orchestrator('in');
    const done = vi.fn();
    await show(<SignIn ended={false} done={done} />);
    await password();
    await waitFor(() => expect(done).toHaveBeenCalled());
    expect(sent).toEqual([{ name: 'dora', password: 'secret' }]);
  });

  it('asks for the code next, and again when it was wrong', async () => {
    const sent = orchestrator(WANTED, WRONG, 'in');
    const done = vi.fn();
    await show(<SignIn ended={false} done={done} />);
    await password();
    await userEvent.type(await codeField(), '111111');
    expect(screen.queryByText('code: give the code')).toBeNull();
    expect(await serious()).toEqual([]);
    await userEvent.click(screen.getByRole('button', { name: 'Sign in' }));
    expect(await screen.findByText('the code is wrong')).toBeTruthy();
    expect(((await codeField()) as HTMLInputElement).value).toBe('');
    await userEvent.type(await codeField(), ' 222222 ');
    await userEvent.click(screen.getByRole('button', { name: 'Sign in' }));
    await waitFor(() => expect(done).toHaveBeenCalled());
    expect(sent).toEqual([
      { name: 'dora', password: 'secret' },
      { name: 'dora', password: 'secret', code: '111111' },
      { name: 'dora', password: 'secret', code: '222222' },
    ]);
  });

  it('says what was wrong, with the keys where it is typed again', async () => {
    orchestrator({ reason: 'unauthenticated', message: 'the name or the password is wrong' });
    await show(<SignIn ended={false} done={() => undefined} />);
    await password();
    expect((await screen.findByRole('alert')).textContent).toContain('the name or the password is wrong');
    const field = screen.getByLabelText(/^Password/) as HTMLInputElement;
    expect(field.value).toBe('');
    await waitFor(() => expect(document.activeElement).toBe(field));
  });

  it('begins anew for somebody else', async () => {
    orchestrator(WANTED);
    await show(<SignIn ended={false} done={() => undefined} />);
    await password();
    await codeField();
    await userEvent.click(screen.getByRole('button', { name: 'Sign in as somebody else' }));
    expect((screen.getByLabelText(/^Password/) as HTMLInputElement).value).toBe('');
  });
});
