// A file is sent as it is, so what it is is looked at first.

import { screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it, vi } from 'vitest';
import { uploads } from '../../live/uploads';
import { page, serious, show, type Answers } from '../../testing/show';
import { formatOf } from './format';
import { UploadDisk } from './UploadDisk';

const tar = `${'name'.padEnd(257, '\0')}ustar`;

describe('a file', () => {
  it.each<[string, BlobPart[], string | undefined]>([
    ['nothing known', ['\0'.repeat(2000)], undefined],
    ['empty', [''], undefined],
    ['short', ['x'], undefined],
    ['qcow2', [new Uint8Array([0x51, 0x46, 0x49, 0xfb])], 'qcow2'],
    ['a VMDK', ['KDMV', 'x'], 'VMDK'],
    ['a description of a VMDK', ['# Disk DescriptorFile\nversion=1'], 'VMDK'],
    ['a VHDX', ['vhdxfile'], 'VHDX'],
    ['a VHD of fixed size', ['\0'.repeat(1024), 'conectix'.padEnd(512, '\0')], 'VHD'],
    ['an OVA', [tar.padEnd(1024, '\0')], 'OVA'],
    ['packed', [new Uint8Array([0x1f, 0x8b, 8])], 'gzip'],
  ])('is %s', async (_name, parts, name) => {
    expect((await formatOf(new Blob(parts)))?.name).toBe(name);
  });
});

const answers: Answers = {
  'host.list': page([{ id: 'h1', name: 'xen1' }] as never[]),
  'sr.list': page([]),
  'vdi.upload': { task: 't', object: 'v' },
};

describe('the dialog', () => {
  it('names the disk after its file, makes it as large, and begins to send', async () => {
    const begin = vi.spyOn(uploads, 'begin').mockResolvedValue();
    const shown = await show(<UploadDisk close={() => undefined} />, { answers });
    const dialog = within(await screen.findByRole('dialog'));
    const go = dialog.getByRole('button', { name: 'Upload' });
    const file = new File(['CD001'.repeat(100)], 'debian-12.iso');
    await userEvent.upload(dialog.getByLabelText(/^File/), file);
    await waitFor(() => expect((dialog.getByRole('textbox', { name: 'Name' }) as HTMLInputElement).value).toBe('debian-12'));
    await waitFor(() => expect(go.hasAttribute('disabled')).toBe(false));
    expect(await serious()).toEqual([]);
    await userEvent.click(go);
    await waitFor(() => expect(begin).toHaveBeenCalledWith({ id: 'v', task: 't', name: 'debian-12' }, file));
    expect(shown.calls('vdi.upload')).toEqual([{ name: 'debian-12', host: 'h1', capacity: 500 }]);
    begin.mockRestore();
  });

  it('sends no package, and says what does', async () => {
    const shown = await show(<UploadDisk close={() => undefined} />, { answers });
    const dialog = within(await screen.findByRole('dialog'));
    await userEvent.upload(dialog.getByLabelText(/^File/), new File([tar.padEnd(1024, '\0')], 'shop v2.ova'));
    expect(await dialog.findByText(/This is OVA/)).toBeTruthy();
    expect(dialog.getByDisplayValue("xenith import upload 'shop v2.ova'")).toBeTruthy();
    expect(dialog.getByRole('button', { name: 'Upload' }).hasAttribute('disabled')).toBe(true);
    expect(shown.calls('vdi.upload')).toEqual([]);
  });
});
