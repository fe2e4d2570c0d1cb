// The files of a backup: from volume to folder to file, and the command that fetches one.

import { screen, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { Backup, BackupFiles, ListBackupFiles } from '../../api/generated';
import { page, serious, show, somebody, type Answers } from '../../testing/show';
import { BackupList } from './BackupList';
import Files from './Files';
import { crumbs, inside } from './files';

const BACKUP = {
  id: 'b', repository: 'r', repository_name: 'main', vm: 'v', vm_name: 'web-1', created: '2026-01-01T00:00:00Z', held: false,
  disks: [{ name: 'xvda', size: 1 << 30, read: 4096, new_bytes: 4096, stored: 2048, millis: 5 }],
} as unknown as Backup;

const file = (kind: 'file' | 'folder', name: string) => ({ kind, name, mode: 0o644, modified: 1_700_000_000, size: 12 });

function files({ at, after }: ListBackupFiles): BackupFiles {
  const none = { disk: 'xvda', entries: [], more: false, volumes: [] };
  if (!at) return { ...none, volumes: [{ name: '1', size: 1 << 30, filesystem: 'ext4', unreadable: null }, { name: '2', size: 4096, filesystem: null, unreadable: 'it is swap' }] };
  if (at === '1:/') return { ...none, entries: [file('folder', 'etc')] };
  return after ? { ...none, entries: [file('file', 'passwd')] } : { ...none, entries: [file('file', 'hosts')], more: true };
}

const answers: Answers = { 'backup.get': BACKUP, 'backup.files': files };
const at = { at: '/backups/r/b/files', route: '/backups/:repository/:backup/files' };

describe('where in a disk', () => {
  it.each([
    ['1:/', ['1'], ['1:/']],
    ['1:/etc/nginx', ['1', 'etc', 'nginx'], ['1:/', '1:/etc', '1:/etc/nginx']],
    ['vg/root:/a:b', ['vg/root', 'a:b'], ['vg/root:/', 'vg/root:/a:b']],
  ])('%s', (path, names, ways) => {
    expect(crumbs(path).map(({ name }) => name)).toEqual(names);
    expect(crumbs(path).map(({ at }) => at)).toEqual(ways);
  });

  it('goes on from a root and from a folder', () => {
    expect([inside('1:/', 'etc'), inside('1:/etc', 'hosts')]).toEqual(['1:/etc', '1:/etc/hosts']);
  });
});

describe('the files of a backup', () => {
  it('are found folder by folder, in the address', async () => {
    const shown = await show(<Files />, { answers, ...at });
    expect(await screen.findByText('it is swap')).toBeTruthy();
    expect(screen.queryByRole('link', { name: '2' })).toBeNull();
    await userEvent.click(screen.getByRole('link', { name: '1' }));
    await userEvent.click(await screen.findByRole('link', { name: 'etc/' }));
    expect(await screen.findByText('passwd')).toBeTruthy();
    expect(shown.address()).toBe('/backups/r/b/files?disk=xvda&at=1%3A%2Fetc');
    expect(shown.calls('backup.files').at(-1)).toEqual({ backup: 'b', repository: 'r', disk: 'xvda', at: '1:/etc', after: 'hosts' });
    expect(await serious()).toEqual([]);
    await userEvent.click(screen.getByRole('button', { name: 'Fetch …: hosts' }));
    const dialog = within(await screen.findByRole('dialog'));
    expect(dialog.getByDisplayValue('xenith backup download b 1:/etc/hosts hosts.zip --repository r --disk xvda')).toBeTruthy();
    expect(shown.calls('backup.download')).toEqual([]);
  });

  it('are not for everybody', async () => {
    const shown = await show(<Files />, { answers, ...at, user: somebody('viewer') });
    expect(await screen.findByText('This needs the role operator.')).toBeTruthy();
    expect(shown.calls('backup.files')).toEqual([]);
  });
});

describe('many backups', () => {
  it('are held at once, with a result for each', async () => {
    const second = { ...BACKUP, id: 'c', vm_name: 'db-1', held: true } as Backup;
    const shown = await show(<BackupList />, { answers: { ...answers, 'backup.list': page([BACKUP, second]), 'backup.hold': { task: 't' } }, at: '/backups' });
    // The first is that of the head.
    await userEvent.click((await screen.findAllByRole('checkbox'))[0] as HTMLElement);
    await userEvent.click(screen.getByRole('button', { name: 'With the selected' }));
    await userEvent.click(await screen.findByRole('menuitem', { name: /^Hold/ }));
    const dialog = within(await screen.findByRole('dialog'));
    expect(dialog.getByText('Left out: As it is, this does not apply to it.')).toBeTruthy();
    await userEvent.click(dialog.getByRole('button', { name: 'Hold' }));
    expect(await dialog.findByText('Running')).toBeTruthy();
    expect(shown.calls('backup.hold')).toEqual([{ backup: 'b', repository: 'r', held: true }]);
  });
});
