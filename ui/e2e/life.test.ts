// One VM's life, by hand, in a real browser: made, started, seen to change by itself, stopped, deleted.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { serious } from './eyes';
import { possible, Stage, until } from './stage';
import { totp, totpAfter } from './totp';

describe.skipIf(!possible)('by hand', () => {
  let stage: Stage;
  beforeAll(async () => {
    stage = await Stage.start(2);
  });
  afterAll(async () => stage?.stop());

  it('a VM from the wizard to its end', async () => {
    const { page, problems } = await stage.page();
    await stage.signIn(page);

    // No script gets at the session.
    expect(await page.evaluate(() => document.cookie)).toBe('');

    await page.keyboard.press('g');
    await page.keyboard.press('v');
    await page.getByRole('heading', { name: 'No VMs yet' }).waitFor();
    await page.keyboard.press('c');
    await page.waitForSelector('#vm-name');
    expect(await page.inputValue('#vm-name')).toBe('');
    await page.fill('#vm-name', 'web-1');
    await page.fill('#vm-kernel', 'lab-vmlinux');
    await page.fill('#vm-tags', 'prod');
    await page.getByRole('button', { name: 'Next' }).click();
    await page.fill('#vm-memory', '256');
    await page.getByLabel(/^default/).check();
    await page.getByRole('button', { name: 'Next' }).click();
    await page.getByText('MiB of memory left').first().waitFor();
    // The browser's Back is one step, and a reload goes on where one was.
    await page.goBack();
    expect(await page.inputValue('#vm-memory')).toBe('256');
    await page.goForward();
    await page.reload();
    await page.getByText('MiB of memory left').first().waitFor();
    await page.getByRole('button', { name: 'Next' }).click();
    await page.getByText('All checks pass').waitFor();
    await page.getByRole('button', { name: 'Create', exact: true }).click();

    // Its page, and it starts before one's eyes.
    await page.getByRole('heading', { name: 'web-1', level: 1 }).waitFor();
    await page.locator('.x-title').getByText('Running').waitFor();
    const address = page.url();

    // A change that somebody else makes is seen without reloading.
    await page.goto(`${stage.url}/vms`);
    const row = page.getByRole('row', { name: /web-1/ });
    await row.getByText('Running').waitFor();
    // Half a second from when the API has it, for a row that is here and for one that comes.
    const seen = async (what: Promise<unknown>) => {
      const begun = performance.now();
      await what;
      expect(performance.now() - begun).toBeLessThan(500);
    };
    await stage.run('vm.pause', { vm: 'web-1' });
    await seen(row.getByText('Paused').waitFor());
    const { task } = await stage.call<{ task: string }>('vm.create', stage.small('web-2'));
    await seen(page.getByRole('row', { name: /web-2/ }).waitFor());
    await until('web-2 is made', async () => (await stage.call<{ status: string }>('task.get', { task })).status === 'done');
    await stage.run('vm.delete', { vm: 'web-2' });
    await seen(page.getByRole('row', { name: /web-2/ }).waitFor({ state: 'detached' }));

    // Also what has no rows to follow: somebody makes a network.
    await page.goto(`${stage.url}/networks`);
    await page.getByRole('row', { name: /default/ }).first().waitFor();
    await stage.call('network.create', { name: 'office', uplink: { kind: 'internal' } });
    await seen(page.getByRole('row', { name: /office/ }).waitFor());
    await page.goto(`${stage.url}/vms`);
    await row.waitFor();

    // The filter is the API's, and stands in the address.
    await page.getByLabel('Filter VMs').fill('power:running');
    await page.getByText('Nothing matches').waitFor();
    expect(page.url()).toContain('q=power%3Arunning');
    await page.getByLabel('Filter VMs').fill('power:nonsense');
    await page.locator('.pf-v6-c-alert').first().waitFor();

    // Its share of the processors, from its page; and what it is protected from is not offered.
    await page.goto(address);
    await page.getByRole('button', { name: 'Change: Hardware' }).click();
    await page.fill('#hw-weight', '512');
    await page.getByRole('dialog').getByRole('button', { name: 'Change' }).click();
    await page.getByRole('definition').filter({ hasText: /^512$/ }).waitFor();
    await page.getByRole('button', { name: 'Change: Protection' }).click();
    await page.getByLabel('Against deleting').check();
    await page.fill('#custom-fields', 'owner=ann');
    await page.getByRole('dialog').getByRole('button', { name: 'Change' }).click();
    await page.getByRole('definition').filter({ hasText: /^ann$/ }).waitFor();
    await stage.run('vm.update', { vm: 'web-1', protection: {} });

    // What was done by mistake is taken back from its message.
    await page.goto(address);
    await page.getByRole('button', { name: 'Actions for web-1' }).click();
    await page.getByRole('menuitem', { name: 'Pause' }).first().click();
    await page.locator('.x-title').getByText('Paused').waitFor();
    await page.getByRole('button', { name: 'Undo' }).click();
    await page.locator('.x-title').getByText('Running').waitFor();

    // Deleting a VM that runs is not offered, and says why; then it is, with its name typed.
    await page.goto(address);
    await page.getByRole('button', { name: 'Actions for web-1' }).click();
    await page.getByText('Shut it down or power it off first.').waitFor();
    await page.getByRole('menuitem', { name: 'Power off' }).first().click();
    await page.getByRole('dialog').getByRole('button', { name: 'Power off' }).click();
    await page.locator('.x-title').getByText('Stopped').waitFor();
    await page.getByRole('button', { name: 'Actions for web-1' }).click();
    await page.getByRole('menuitem', { name: 'Delete' }).first().click();
    const confirm = page.getByRole('dialog').getByRole('button', { name: 'Delete' });
    expect(await confirm.isDisabled()).toBe(true);
    await page.fill('#ask-name', 'web-1');
    await confirm.click();
    await page.getByRole('heading', { name: 'No VMs yet' }).waitFor();

    // Signed out is signed out, also for the way back.
    await page.getByRole('button', { name: /account and appearance/ }).click();
    await page.getByRole('menuitem', { name: 'Sign out' }).click();
    await page.waitForSelector('#password');
    await page.goto(`${stage.url}/vms`);
    await page.waitForSelector('#password');
    expect(problems).toEqual([]);
  }, 300_000);

  it('signing in with a second factor: set up, a code once, a recovery code', async () => {
    const [name, password] = ['dora', 'correct horse battery'];
    await stage.call('user.create', { name, password, bindings: [{ role: 'viewer', scope: { kind: 'all' } }] });
    const { page, problems } = await stage.page();
    await stage.signIn(page, name, password);
    const dialog = page.getByRole('dialog');

    // The secret counts once a code of it was given.
    await page.goto(`${stage.url}/account`);
    await page.getByRole('button', { name: 'Set up' }).click();
    await page.fill('#factor-password', password);
    await dialog.getByRole('button', { name: 'Go on' }).click();
    const secret = await page.getByLabel('Secret', { exact: true }).inputValue();
    expect(await serious(page)).toEqual([]);
    const confirmed = Date.now();
    await page.fill('#factor-code', totp(secret, confirmed));
    await dialog.getByRole('button', { name: 'Turn on' }).click();
    await page.getByText('They are shown only now').waitFor();
    const recovery = (await dialog.locator('pre').innerText()).split('\n')[0] ?? '';
    await dialog.getByRole('button', { name: 'I have kept them' }).click();

    const signOut = async () => {
      await page.getByRole('button', { name: /account and appearance/ }).click();
      await page.getByRole('menuitem', { name: 'Sign out' }).click();
      await page.waitForSelector('#password');
    };
    const give = async (code: string) => {
      await page.fill('#code', code);
      await page.getByRole('button', { name: 'Sign in', exact: true }).click();
    };

    // A code that was given already is worth nothing more; the next one is.
    await signOut();
    await page.fill('#name', name);
    await page.fill('#password', password);
    await page.getByRole('button', { name: 'Sign in', exact: true }).click();
    await page.waitForSelector('#code');
    expect(await serious(page)).toEqual([]);
    await give(totp(secret, confirmed));
    await page.waitForSelector('.pf-v6-c-alert');
    await give(totpAfter(secret, confirmed));
    await page.waitForSelector('nav', { state: 'attached' });

    // Who has lost the app has the paper.
    await signOut();
    await page.fill('#name', name);
    await page.fill('#password', password);
    await page.getByRole('button', { name: 'Sign in', exact: true }).click();
    await give(recovery);
    await page.waitForSelector('nav', { state: 'attached' });
    expect(problems).toEqual([]);
    await page.context().close();
  }, 120_000);
});
