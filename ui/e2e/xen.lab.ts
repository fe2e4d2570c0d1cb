// One VM's life by hand on a real Xen host: what simulated hosts cannot show is that it starts, and what it says.
//
// `npm run test:lab`, where `make run HOSTS=1` has built the programs and the lab's image (docs/ui.md). The host is
// emulated: every step takes its time, and waits for what is shown, never for the clock.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { browserPath, programs, Stage, until } from './stage';

const MINUTES = 60_000;
/** Said by the lab's guest on its console when it is up (lab/src/guest.rs). */
const READY = 'XENITH-GUEST-READY';

describe('by hand on real Xen', () => {
  let stage: Stage;
  beforeAll(async () => {
    const missing = [join(programs, 'xenith-run'), browserPath].filter((path) => !existsSync(path));
    // It was asked for: to leave it out would look as if it had passed.
    if (missing.length) throw new Error(`not there: ${missing.join(', ')}; \`make run HOSTS=1\` builds the programs and the lab's image, CHROMIUM names the browser`);
    stage = await Stage.start(1, 'lab');
    // Of the host, which has a file system of its own; the host's disk outlives the run, and what is in the folder.
    await stage.run('repository.create', { name: 'main', place: { kind: 'folder', path: `/var/lib/xenith/backups-${Date.now()}` } }, 600);
  }, 40 * MINUTES);
  afterAll(async () => stage?.stop(), 5 * MINUTES);

  const verb = async (page: Page, of: string, name: string) => {
    await page.getByRole('button', { name: `Actions for ${of}`, exact: true }).click();
    await page.getByRole('menuitem', { name }).first().click();
  };
  const powerOff = async (page: Page, name: string) => {
    await verb(page, name, 'Power off');
    await page.getByRole('dialog').getByRole('button', { name: 'Power off' }).click();
    await page.locator('.x-title').getByText('Stopped').waitFor();
  };
  const remove = async (page: Page, name: string) => {
    await verb(page, name, 'Delete');
    await page.fill('#ask-name', name);
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
    await page.getByRole('heading', { name: 'Virtual machines', level: 1 }).waitFor();
  };

  it('a VM is made, boots, is kept, comes back and goes', async () => {
    const { page, problems } = await stage.page();
    page.setDefaultTimeout(10 * MINUTES);
    await stage.signIn(page);

    await page.goto(`${stage.url}/vms/new`);
    await page.fill('#vm-name', 'lab-1');
    await page.fill('#vm-kernel', 'lab-vmlinux');
    await page.fill('#vm-ramdisk', 'lab-initramfs');
    // What an emulated CPU is slow at is off.
    await page.fill('#vm-cmdline', 'console=hvc0 mitigations=off init_on_alloc=0 apparmor=0 cryptomgr.notests');
    await page.getByRole('button', { name: 'Next' }).click();
    await page.fill('#vm-memory', '128');
    await page.fill('#vm-max-memory', '128');
    await page.fill('#disk-0-size', '1');
    await page.getByRole('button', { name: 'Next' }).click();
    await page.getByText('MiB of memory left').first().waitFor();
    await page.getByRole('button', { name: 'Next' }).click();
    await page.getByText('All checks pass').waitFor();
    await page.getByRole('button', { name: 'Create', exact: true }).click();
    await page.getByRole('heading', { name: 'lab-1', level: 1 }).waitFor();
    await page.locator('.x-title').getByText('Running').waitFor();
    const address = page.url();

    // The agent keeps what a guest said before anybody looked; the terminal shows the end of it.
    await page.getByRole('tab', { name: 'Console' }).click();
    const screen = page.locator('.xterm-rows');
    await until('the guest says that it is up', async () => (await screen.innerText()).includes(READY), 900);

    await page.goto(address);
    await powerOff(page, 'lab-1');
    await page.getByRole('tab', { name: 'Snapshots' }).click();
    await page.getByRole('button', { name: 'Take a snapshot' }).click();
    await page.fill('#snapshot-name', 'fresh');
    await page.getByRole('dialog').getByRole('button', { name: 'Take', exact: true }).click();
    await page.getByRole('row', { name: /fresh/ }).getByText('It did not run').waitFor();

    await page.getByRole('tab', { name: 'Backups' }).click();
    await page.getByRole('button', { name: 'Back up now' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Back up', exact: true }).click();
    await page.getByText('Done: Back lab-1 up').waitFor();
    const kept = page.getByRole('row', { name: /main/ });
    await kept.getByRole('button', { name: /^Actions for/ }).click();
    await page.getByRole('menuitem', { name: 'Restore' }).first().click();
    await page.fill('#restore-name', 'lab-2');
    await page.getByRole('button', { name: 'Restore', exact: true }).click();
    await page.getByRole('heading', { name: 'lab-2', level: 1 }).waitFor();
    // Its page is there before its disks are.
    await page.getByText('Done: Restore lab-1').waitFor();
    await page.locator('.x-title').getByText('Stopped').waitFor();

    await remove(page, 'lab-2');
    await page.goto(address);
    await remove(page, 'lab-1');
    await page.getByRole('heading', { name: 'No VMs yet' }).waitFor();
    expect(problems).toEqual([]);
  }, 60 * MINUTES);
});
