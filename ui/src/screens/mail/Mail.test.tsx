// The mail server: what is sent to be kept, what is refused before it is sent, and the test.

import { screen, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { MailSettings } from '../../api/generated';
import { Refusal, serious, show, somebody } from '../../testing/show';
import { fromMail, mailProblems, sameMail, setMail, type MailDraft, type MailProblems } from './draft';
import Mail from './Mail';

const none: MailSettings = { server: '', port: 0, security: 'starttls', user: '', has_password: false, from: '', authority_pem: '' };
const known: MailSettings = { server: 'mail.x.org', port: 587, security: 'starttls', user: 'xenith', has_password: true, from: 'Xenith <x@x.org>', authority_pem: '' };

describe('the settings', () => {
  it('come back as they went in, with the password that is known', () => {
    expect(sameMail(known, fromMail(known))).toBe(true);
    expect(setMail(fromMail(known))).toEqual({ server: 'mail.x.org', port: 0, security: 'starttls', user: 'xenith', from: 'Xenith <x@x.org>', authority_pem: '' });
    expect(setMail({ ...fromMail(known), port: '2525', password: 'secret' })).toMatchObject({ port: 2525, password: 'secret' });
  });

  it.each<[string, Partial<MailDraft>, (keyof MailProblems)[]]>([
    ['nothing', {}, []],
    ['another sender', { from: 'y@x.org' }, []],
    ['another server', { server: 'other.x.org' }, ['password']],
    ['another server with its password', { server: 'other.x.org', password: 's' }, []],
    ['another port', { port: '2525' }, ['password']],
    ['other certificates', { authority: 'PEM' }, ['password']],
    ['nobody', { user: '' }, []],
    ['a password of nobody', { user: '', password: 's' }, ['user']],
    ['a password in the open', { security: 'none', password: 's' }, ['user']],
    ['a scheme', { server: 'smtp://x', password: 's' }, ['server']],
    ['no port', { port: '70000', password: 's' }, ['port']],
    ['no sender', { from: 'Xenith' }, ['from']],
  ])('with %s', (_name, part, wrong) => expect(Object.keys(mailProblems(known, { ...fromMail(known), ...part }))).toEqual(wrong));
});

describe('the screen', () => {
  it('sets a server where there is none', async () => {
    const shown = await show(<Mail />, { answers: { 'mail.get': none, 'mail.set': known } });
    expect(await screen.findByText('No mail is sent')).toBeTruthy();
    const button = screen.getByRole('button', { name: 'Set the mail server' });
    await userEvent.type(screen.getByRole('textbox', { name: 'Server' }), 'mail.x.org');
    await userEvent.type(screen.getByRole('textbox', { name: 'Sender' }), 'x@x.org');
    await userEvent.type(screen.getByRole('textbox', { name: 'User name' }), 'xenith');
    expect(button.hasAttribute('disabled')).toBe(true);
    expect(screen.getByText('None is known for this server, user and these certificates.')).toBeTruthy();
    await userEvent.type(screen.getByLabelText('Password'), 'secret');
    expect(await serious()).toEqual([]);
    await userEvent.click(button);
    expect(shown.calls('mail.set')).toEqual([{ server: 'mail.x.org', port: 0, security: 'starttls', user: 'xenith', password: 'secret', from: 'x@x.org', authority_pem: '' }]);
  });

  it('sends a test, and says what the server said', async () => {
    const refuse = () => {
      throw new Refusal('the mail server says: 550 no such user');
    };
    const shown = await show(<Mail />, { answers: { 'mail.get': known, 'mail.test': refuse } });
    await userEvent.type(await screen.findByRole('textbox', { name: 'To' }), 'you@x.org');
    await userEvent.click(screen.getByRole('button', { name: 'Send a test' }));
    expect(shown.calls('mail.test')).toEqual([{ to: 'you@x.org' }]);
    expect(await screen.findByText(/550 no such user/)).toBeTruthy();
  });

  it('stops after a question', async () => {
    const shown = await show(<Mail />, { answers: { 'mail.get': known, 'mail.set': none } });
    await userEvent.click(await screen.findByRole('button', { name: 'Send no mail any more' }));
    expect(shown.calls('mail.set')).toEqual([]);
    await userEvent.click(within(await screen.findByRole('dialog')).getByRole('button', { name: 'Send no mail' }));
    expect(shown.calls('mail.set')).toEqual([{ server: '' }]);
  });

  it('is not for everybody, and says why it cannot be read', async () => {
    const shown = await show(<Mail />, { user: somebody('operator') });
    expect(await screen.findByText('This needs the role admin of everything.')).toBeTruthy();
    shown.unmount();
    const broken = () => {
      throw new Refusal('the store is gone', 'internal');
    };
    await show(<Mail />, { answers: { 'mail.get': broken } });
    expect(await screen.findByText('the store is gone')).toBeTruthy();
  });
});
