// Two-factor sign-in as its user turns it on and off: nothing counts before a code, what is secret is shown once.

import { screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import { qrPath } from '../../parts/QrCode';
import { Refusal, serious, show, somebody } from '../../testing/show';
import { SecondFactor } from './SecondFactor';

const enrolment = { uri: 'otpauth://totp/Xenith:dora?secret=GEZDGNBV&issuer=Xenith', secret: 'GEZDGNBV' };
const dialog = async () => within(await screen.findByRole('dialog'));

describe('two-factor sign-in', () => {
  it('is set up with the password, then a code', async () => {
    let first = true;
    const confirm = () => {
      if (!first) return { codes: ['ABCD-EFGH-IJKL-MNOP'] };
      first = false;
      throw new Refusal('code: is not what the app should show now', 'invalid');
    };
    const shown = await show(<SecondFactor user={somebody()} />, { answers: { 'user.totp_enrol': enrolment, 'user.totp_confirm': confirm } });
    await userEvent.click(screen.getByRole('button', { name: 'Set up' }));
    await userEvent.type((await dialog()).getByLabelText(/^Your password/), 'secret');
    await userEvent.click((await dialog()).getByRole('button', { name: 'Go on' }));

    await screen.findByRole('img', { name: 'The secret as a QR code' });
    expect(shown.calls('user.totp_enrol')).toEqual([{ password: 'secret' }]);
    const code = (await dialog()).getByRole('textbox', { name: /^Code that the app shows now/ }) as HTMLInputElement;
    expect(code.value).toBe('');
    await userEvent.type(code, '111111');
    expect(await serious()).toEqual([]);
    await userEvent.click((await dialog()).getByRole('button', { name: 'Turn on' }));
    await waitFor(() => expect(shown.calls('user.totp_confirm')).toHaveLength(1));
    await userEvent.clear(code);
    await userEvent.type(code, '222222');
    await userEvent.click((await dialog()).getByRole('button', { name: 'Turn on' }));

    expect(await screen.findByText('ABCD-EFGH-IJKL-MNOP')).toBeTruthy();
    expect(shown.calls('user.totp_confirm')).toEqual([{ code: '111111' }, { code: '222222' }]);
    await userEvent.click((await dialog()).getByRole('button', { name: 'I have kept them' }));
    expect(screen.queryByText('ABCD-EFGH-IJKL-MNOP')).toBeNull();
  });

  it('is turned off with the password', async () => {
    const shown = await show(<SecondFactor user={{ ...somebody(), totp: true }} />, { answers: { 'user.totp_disable': somebody() } });
    expect(screen.queryByRole('button', { name: 'Set up' })).toBeNull();
    await userEvent.click(screen.getByRole('button', { name: 'Turn off' }));
    await userEvent.type((await dialog()).getByLabelText(/^Your password/), 'secret');
    await userEvent.click((await dialog()).getByRole('button', { name: 'Turn off' }));
    await waitFor(() => expect(shown.calls('user.totp_disable')).toEqual([{ password: 'secret' }]));
  });
});

describe('a QR code', () => {
  it('has its three corners within a quiet zone', () => {
    const { size, path } = qrPath(enrolment.uri);
    // The top of a finder pattern: seven dark squares, after four light ones and before the last four.
    expect(path.startsWith('M4 4h7v1h-7z')).toBe(true);
    expect(path).toContain(`M${size - 11} 4h7v1h-7z`);
    expect(path).toContain(`M4 ${size - 11}h7v1h-7z`);
    expect(path).not.toMatch(/M[0-3] /);
  });
});
