// The wizard for a file: what it describes is the beginning of what is asked for, and nothing is made before the end.

import { screen, waitFor } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { PackageFile, type Found } from '../../../api/package';
import { uploads } from '../../../live/uploads';
import { page, serious, show, somebody, type Answers } from '../../../testing/show';
import { asName, described, EMPTY_FILE, uploadParams } from './draft';
import FromFile from './FromFile';

const found: Found = {
  name: 'Web 1 (old)',
  os: 'Debian 12',
  vcpus: 2,
  memory_mib: 2048,
  efi: true,
  nics: [
    { network: 'VM Network', mac: '00:50:56:00:00:01' },
    { network: 'Backup', mac: null },
  ],
  disks: [{ name: 'web-disk1', capacity: (1 << 20) + 1 }],
  warnings: ['the USB controller is left out'],
};

const answers: Answers = {
  'host.list': page([{ id: 'h1', name: 'xen1' }] as never[]),
  'pool.list': page([]),
  'network.list': page([{ id: 'n1', name: 'lan', bridge: 'xenbr0' }] as never[]),
  'import.upload': ({ dry_run }) => (dry_run ? { plan: { placement: { host: 'h1', candidates: [{ host: 'h1', name: 'xen1', score: 1, reasons: ['room'] }] } } } : { task: 't', object: 'i' }),
};

afterEach(() => vi.restoreAllMocks());

describe('the name of a VM in a file', () => {
  it.each([
    ['Web 1 (old)', 'Web-1-old'],
    ['..hidden', 'hidden'],
    ['Überwachung', 'Uberwachung'],
    ['', ''],
  ])('%s becomes %s', (theirs, ours) => {
    expect(asName(theirs)).toBe(ours);
  });
});

describe('what the call has', () => {
  const draft = { ...EMPTY_FILE, ...described(found, 'web.ova') };

  it('is what the file says, with sizes that hold its disks', () => {
    const { vm, disks } = uploadParams({ ...draft, networks: { 'VM Network': 'n1' } }, found, 'web.ova');
    expect(vm).toMatchObject({ name: 'Web-1-old', platform: { kind: 'hvm', firmware: 'uefi' }, memory: { target: 2048, max: 2048 }, disks: [{ size: 2 << 20 }], nics: [{ network: 'n1', mac: '00:50:56:00:00:01' }], start: true });
    expect(disks).toEqual([{ name: 'web-disk1', capacity: (1 << 20) + 1 }]);
  });

  it('has one NIC of ours where the file describes none, and new addresses where they are wanted', () => {
    expect(uploadParams({ ...draft, network: 'n1' }, { ...found, nics: [] }, 'web.ova').vm.nics).toEqual([{ network: 'n1' }]);
    expect(uploadParams({ ...draft, keepMacs: false, networks: { 'VM Network': 'n1' } }, found, 'web.ova').vm.nics).toEqual([{ network: 'n1' }]);
    expect(uploadParams({ ...draft, prepare: false }, found, 'web.ova').no_prepare).toBe(true);
  });
});

describe('the wizard', () => {
  const choose = async (parts: BlobPart[], name: string) => userEvent.upload(await screen.findByLabelText(/^File/), new File(parts, name));

  it('reads the file, asks for what it does not know, checks, and begins to send', async () => {
    vi.spyOn(PackageFile.prototype, 'look').mockResolvedValue(found);
    const begin = vi.spyOn(uploads, 'beginVm').mockResolvedValue();
    const shown = await show(<FromFile />, { answers, at: '/imports/upload', route: '/imports/upload' });
    await choose([`${'web.ovf'.padEnd(257, '\0')}ustar`.padEnd(512, '\0')], 'web.ova');
    expect(await screen.findByText('the USB controller is left out')).toBeTruthy();
    expect(await serious()).toEqual([]);
    await userEvent.click(screen.getByRole('button', { name: 'Next' }));
    expect((screen.getByRole('textbox', { name: 'Name' }) as HTMLInputElement).value).toBe('Web-1-old');
    await screen.findAllByRole('option', { name: 'lan (xenbr0)' });
    await userEvent.selectOptions(screen.getByRole('combobox', { name: 'VM Network' }), 'n1');
    expect(await serious()).toEqual([]);
    await userEvent.click(screen.getByRole('button', { name: 'Next' }));
    expect(await screen.findByText('All checks pass. It goes to xen1.')).toBeTruthy();
    expect(screen.getByText('NICs that are left out: 1')).toBeTruthy();
    await userEvent.click(screen.getByRole('button', { name: 'Begin' }));
    await waitFor(() => expect(begin).toHaveBeenCalledWith({ id: 'i', task: 't', name: 'Web-1-old', size: (1 << 20) + 1 }, expect.any(PackageFile), 'ours'));
    await waitFor(() => expect(shown.address()).toBe('/imports/i'));
    expect(shown.calls('import.upload').map(({ dry_run }) => !!dry_run)).toEqual([true, false]);
  });

  it('goes before its first file with what its address says', async () => {
    vi.spyOn(PackageFile.prototype, 'look').mockResolvedValue(found);
    const shown = await show(<FromFile />, { answers, at: '/imports/upload?step=file-vm&name=web-9&vcpus=8', route: '/imports/upload' });
    expect(await screen.findByText('It waits for a file that can be read.')).toBeTruthy();
    await waitFor(() => expect(shown.address()).toBe('/imports/upload?name=web-9&vcpus=8'));
    await choose(['KDMV'], 'web.vmdk');
    await waitFor(() => expect(screen.getByRole('button', { name: 'Next' }).hasAttribute('disabled')).toBe(false));
    await userEvent.click(screen.getByRole('button', { name: 'Next' }));
    expect((await screen.findByRole<HTMLInputElement>('textbox', { name: 'Name' })).value).toBe('web-9');
    expect(screen.getByLabelText<HTMLInputElement>('Memory (MiB)').value).toBe('2048');
    await shown.back();
    await choose(['KDMV'], 'db.vmdk');
    await waitFor(() => expect(shown.address()).toContain('name=Web-1-old'));
  });

  it('does not read what is packed', async () => {
    const look = vi.spyOn(PackageFile.prototype, 'look').mockResolvedValue(found);
    await show(<FromFile />, { answers });
    await choose([new Uint8Array([0x1f, 0x8b, 8])], 'web.ova.gz');
    expect(await screen.findByText('This file is packed: gzip')).toBeTruthy();
    expect(screen.getByRole('button', { name: 'Next' }).hasAttribute('disabled')).toBe(true);
    expect(look).not.toHaveBeenCalled();
  });

  it('says why a file is none, and who may not import is told so', async () => {
    vi.spyOn(PackageFile.prototype, 'look').mockRejectedValue(new Error('it has no disk'));
    const shown = await show(<FromFile />, { answers });
    await choose(['KDMV'], 'web.vmdk');
    expect(await screen.findByText('it has no disk')).toBeTruthy();
    shown.unmount();
    await show(<FromFile />, { answers, user: somebody('viewer') });
    expect(await screen.findByText('This needs the role operator.')).toBeTruthy();
  });
});
