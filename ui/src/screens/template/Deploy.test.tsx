// The form of a deployment stands in its address, but for the texts that may hold secrets.

import { screen, waitFor } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { Template } from '../../api/generated';
import { page, show, type Answers } from '../../testing/show';
import Deploy from './Deploy';

const template = { id: 't', name: 'debian', pool: 'p', host: 'h', ready: true, description: '', vcpus: { online: 1, max: 1 }, memory: { target: 1024, max: 1024 }, disks: [{ size: 3 * 1024 ** 3 }], fragments: [] } as unknown as Template;
const answers: Answers = { 'template.get': template, 'fragment.list': page([]), 'host.list': page([]), 'pool.list': page([]), 'network.list': page([]) };
const at = (search: string) => ({ answers, at: `/templates/t/deploy?${search}`, route: '/templates/:template/deploy' });
const asksBeforeItGoes = () => !dispatchEvent(new Event('beforeunload', { cancelable: true }));

describe('a deployment', () => {
  it('keeps what is chosen in its address, and no keys', async () => {
    const shown = await show(<Deploy />, at(''));
    await userEvent.type(await screen.findByRole('textbox', { name: 'Name' }), 'web-1');
    await userEvent.type(screen.getByRole('textbox', { name: 'Host name' }), 'www');
    expect(asksBeforeItGoes()).toBe(false);
    await userEvent.type(screen.getByRole('textbox', { name: 'SSH keys' }), 'ssh-ed25519 AAAA');
    await waitFor(() => expect(shown.address()).toBe('/templates/t/deploy?name=web-1&cloud=hostname%3Awww'));
    expect(asksBeforeItGoes()).toBe(true);
  });

  it('comes as its address says, and says what it waits for', async () => {
    await show(<Deploy />, at('name=web-1&gib=20&cloud=kind:own+userData:planted'));
    const text = await screen.findByRole<HTMLTextAreaElement>('textbox', { name: 'User-data' });
    expect(text.value).toBe('#cloud-config\n');
    expect(screen.getByLabelText<HTMLInputElement>('First disk (GiB)').value).toBe('20');
    await userEvent.clear(text);
    expect(await screen.findByText('Still to be filled in or corrected: What cloud-init is told.')).toBeTruthy();
  });
});
