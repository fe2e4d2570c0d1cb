// Storage by hand: a disk grows, snapshots are taken and gone back to, a template is made and deployed.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { possible, Stage } from './stage';

describe.skipIf(!possible)('storage by hand', () => {
  let stage: Stage;
  beforeAll(async () => {
    stage = await Stage.start(1);
  });
  afterAll(async () => stage?.stop());

  it('from a snapshot to a template to a VM', async () => {
    const made = await stage.run('vm.create', stage.small('mail'));
    const { page, problems } = await stage.page();
    await stage.signIn(page);
    const dialog = page.getByRole('dialog');

    // Two snapshots, and back to the first.
    await page.goto(`${stage.url}/vms/${made.object}/snapshots`);
    await page.getByRole('heading', { name: 'No snapshots' }).waitFor();
    for (const name of ['fresh', 'tuned']) {
      await page.getByRole('button', { name: 'Take a snapshot' }).click();
      await page.fill('#snapshot-name', name);
      await dialog.getByRole('button', { name: 'Take', exact: true }).click();
      await page.getByRole('row', { name: new RegExp(name) }).getByText('It did not run').waitFor();
    }
    const fresh = page.getByRole('row', { name: /fresh/ });
    await page.getByRole('row', { name: /tuned/ }).getByText('the VM goes on from here').waitFor();
    await fresh.getByRole('button', { name: 'Actions for fresh' }).click();
    await page.getByRole('menuitem', { name: 'Go back to it' }).first().click();
    await page.fill('#ask-name', 'mail');
    await dialog.getByRole('button', { name: 'Go back' }).click();
    await fresh.getByText('the VM goes on from here').waitFor();

    // A VM from one of them.
    await page.getByRole('button', { name: 'Actions for tuned' }).click();
    await page.getByRole('menuitem', { name: 'Make a VM from it' }).first().click();
    await page.fill('#clone-name', 'mail-2');
    await dialog.getByRole('button', { name: 'Create' }).click();
    await page.getByRole('heading', { name: 'mail-2', level: 1 }).waitFor();

    // Its disk grows.
    await page.getByRole('tab', { name: 'Disks' }).click();
    await page.getByRole('button', { name: /^Actions for mail-2-/ }).click();
    await page.getByRole('menuitem', { name: 'Make larger' }).first().click();
    await page.fill('#vdi-size', '2');
    await dialog.getByRole('button', { name: 'Make larger' }).click();
    await page.getByRole('row', { name: /xvda/ }).getByText('2 GiB').waitFor();

    // A copy of it elsewhere.
    await page.goto(`${stage.url}/disks`);
    await page.getByRole('button', { name: /^Actions for mail-2-/ }).click();
    await page.getByRole('menuitem', { name: 'Copy to another place' }).first().click();
    await page.fill('#vdi-name', 'spare');
    await dialog.getByRole('button', { name: 'Copy it' }).click();
    await page.getByRole('row', { name: /spare/ }).getByText('2 GiB').waitFor();
    await page.getByRole('button', { name: 'Actions for spare' }).click();
    await page.getByRole('menuitem', { name: 'Move' }).first().click();
    expect(await dialog.getByRole('button', { name: 'Move' }).isDisabled()).toBe(true);
    await dialog.getByRole('button', { name: 'Cancel' }).click();
    await page.goto(`${stage.url}/vms`);
    await page.getByRole('link', { name: 'mail-2', exact: true }).click();
    await page.getByRole('heading', { name: 'mail-2', level: 1 }).waitFor();

    // A template of it, deployed with a key; what the guest will read is shown before.
    await page.getByRole('button', { name: 'Actions for mail-2', exact: true }).click();
    await page.getByRole('menuitem', { name: 'Make a template of it' }).first().click();
    await page.fill('#template-name', 'golden');
    await dialog.getByRole('button', { name: 'Create' }).click();
    await page.getByRole('row', { name: /golden/ }).getByText('Ready').waitFor();
    await page.getByRole('button', { name: 'Actions for golden' }).click();
    await page.getByRole('menuitem', { name: 'Deploy' }).first().click();
    await page.fill('#deploy-name', 'mail-3');
    await page.fill('#cloud-keys', 'AAAA');
    await page.getByText('Give public keys').waitFor();
    expect(await page.getByRole('button', { name: 'Deploy', exact: true }).isDisabled()).toBe(true);
    await page.fill('#cloud-keys', 'ssh-ed25519 AAAAC3Nz ann@laptop');
    await page.locator('.x-preview').getByText('"hostname": "mail-3"').waitFor();
    await page.getByRole('button', { name: 'Deploy', exact: true }).click();
    await page.getByRole('heading', { name: 'mail-3', level: 1 }).waitFor();
    await page.locator('.x-title').getByText('Running').waitFor();

    // All of it is in the storage of its host, and a look through finds nothing amiss.
    await page.goto(`${stage.url}/storage`);
    await page.getByRole('link', { name: /^local-/ }).click();
    await page.getByRole('tab', { name: 'Look through' }).click();
    await page.getByText('All is as it is known').waitFor();
    expect(problems).toEqual([]);
  }, 300_000);

  it('a file of the browser becomes a disk', async () => {
    const { page, problems } = await stage.page();
    await stage.signIn(page);
    await page.goto(`${stage.url}/disks`);
    await page.getByRole('button', { name: 'Upload a file' }).click();
    const buffer = Buffer.alloc((3 << 20) + 512, 'an ISO image ');
    await page.setInputFiles('#upload-file', { name: 'tiny.iso', mimeType: 'application/octet-stream', buffer });
    const dialog = page.getByRole('dialog');
    await dialog.getByRole('button', { name: 'Upload', exact: true }).click();
    await page.getByText('Done: Upload a file as a disk').waitFor();
    await page.getByRole('row', { name: /tiny/ }).getByText('4 MiB').waitFor();
    expect(await page.getByText('Uploading tiny').count()).toBe(0);
    expect(problems).toEqual([]);
    await page.context().close();
  }, 120_000);

  it('a file of the browser becomes a VM', async () => {
    const { page, problems } = await stage.page();
    await stage.signIn(page);
    await page.goto(`${stage.url}/imports/upload`);
    // Of no format, so that it says nothing of itself but how large it is.
    await page.setInputFiles('#import-file', { name: 'shop.img', mimeType: 'application/octet-stream', buffer: Buffer.alloc(3 << 20, 'a disk ') });
    await page.getByRole('button', { name: 'Next' }).click();
    expect(await page.inputValue('#file-name')).toBe('shop');
    await page.fill('#file-memory', '128');
    await page.getByLabel('Prepare the guest for Xen').uncheck();
    await page.getByLabel('Start it when its disks are here').uncheck();
    await page.getByRole('button', { name: 'Next' }).click();
    await page.getByText('All checks pass').waitFor();
    await page.getByRole('button', { name: 'Begin', exact: true }).click();
    await page.getByRole('heading', { name: 'shop', level: 1 }).waitFor();
    await page.locator('.x-title').getByText('Done').waitFor();
    expect(await page.getByText('Uploading shop').count()).toBe(0);
    expect(problems).toEqual([]);
    await page.context().close();
  }, 120_000);

  it('a connection that is lost says how old the page is, and comes back by itself', async () => {
    await stage.run('vm.create', stage.small('kept', { start: true }));
    const { page, problems } = await stage.page();
    let lost = false;
    const open = new Set<{ close(): Promise<void> }>();
    await page.routeWebSocket(/\/rpc$/, (socket) => {
      if (lost) return void socket.close();
      socket.connectToServer();
      open.add(socket);
    });
    await stage.signIn(page);
    await page.goto(`${stage.url}/vms`);
    await page.getByRole('row', { name: /kept/ }).getByText('Running').waitFor();
    await page.getByText('Live').waitFor();
    lost = true;
    for (const socket of open) await socket.close();
    await page.getByText('No connection to the orchestrator').waitFor();
    await page.getByText(/What you see is \d+s old/).waitFor();
    await stage.run('vm.pause', { vm: 'kept' });
    lost = false;
    await page.getByRole('row', { name: /kept/ }).getByText('Paused').waitFor();
    await page.getByText('Live').waitFor();
    expect(problems).toEqual([]);
    await page.context().close();
  }, 120_000);
});
