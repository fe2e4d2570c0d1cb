// Every screen, full and empty, light, dark and in high contrast: axe finds nothing serious, nothing breaks the security
// policy, nothing is asked from elsewhere, nothing is left untranslated or cut off. With SHOTS=folder a picture of each
// is kept, to be looked at.

import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cutOff, serious, settled, shot, unmarked } from './eyes';
import { EMPTY, ON_A_PHONE, screens } from './screens';
import { possible, Stage } from './stage';
import { fill, namesOf, things } from './things';

const NOTHING = '00000000-0000-7000-8000-000000000000';

describe.skipIf(!possible)('the looks', () => {
  let stage: Stage;
  let all: Record<string, string>;

  beforeAll(async () => {
    stage = await Stage.start(2);
  });
  afterAll(async () => stage?.stop());

  type Look = (page: Page) => Promise<string[]>;

  async function each(kind: string, options: Parameters<Stage['page']>[0], wanted = Object.keys(all), looks: Look[] = [serious, cutOff]) {
    const { page, problems } = await stage.page(options);
    await stage.signIn(page);
    const found: Record<string, string[]> = {};
    for (const name of wanted) {
      await page.goto(stage.url + all[name]);
      await settled(page);
      await shot(page, `${name}-${kind}`);
      const lists = [];
      for (const look of looks) lists.push(await look(page));
      if (lists.flat().length) found[name] = lists.flat();
    }
    expect(found).toEqual({});
    expect(problems).toEqual([]);
    await page.context().close();
  }

  it('signing in, wrong and right', async () => {
    const { page, problems } = await stage.page();
    await page.goto(stage.url);
    await page.waitForSelector('#name');
    await shot(page, 'sign-in');
    expect(await serious(page)).toEqual([]);
    await page.fill('#name', 'admin');
    await page.fill('#password', 'not the password');
    await page.click('button[type=submit]');
    await page.waitForSelector('.pf-v6-c-alert');
    await shot(page, 'sign-in-wrong');
    expect(await serious(page)).toEqual([]);
    expect(problems).toEqual([]);
    await page.context().close();
  });

  it('empty, and what is not there', async () => {
    const there = await things(stage);
    all = screens({ ...there, vm: NOTHING, task: NOTHING, template: NOTHING });
    await each('empty', {}, [...EMPTY, 'template', 'deploy']);
  }, 300_000);

  it('full and light', async () => {
    await fill(stage);
    all = screens(await things(stage));
    await each('light', {});
  }, 600_000);

  it('dark and large', async () => {
    await each('dark', { width: 1920, height: 1080, dark: true });
  }, 600_000);

  it('on a phone', async () => {
    await each('phone', { width: 390, height: 844 }, ON_A_PHONE);
  }, 300_000);

  it('in high contrast, light and dark', async () => {
    const some = ['home', 'fleet', 'topology', 'vms', 'vm-summary', 'vm-snapshots', 'new-vm', 'sr', 'deploy', 'task'];
    await each('contrast', { contrast: true }, some);
    await each('contrast-dark', { contrast: true, dark: true }, some);
  }, 300_000);

  it('in French', async () => {
    await each('fr', { lang: 'fr-FR' }, ['home', 'vms', 'vm-summary', 'vm-snapshots', 'new-vm', 'storage', 'deploy', 'audit']);
  }, 300_000);

  it('in the pseudo-locale: every text of its own is translated, and there is room for longer ones', async () => {
    const names = await namesOf(stage);
    await each('pseudo', { pseudo: true }, Object.keys(all), [(page) => unmarked(page, names), cutOff]);
  }, 600_000);

  it('without motion where none is wanted', async () => {
    const { page } = await stage.page();
    await stage.signIn(page);
    const seconds = await page.locator('button').first().evaluate((button) => {
      const { transitionDuration, animationDuration } = getComputedStyle(button);
      return `${transitionDuration}, ${animationDuration}`.split(', ').map((text) => Number.parseFloat(text));
    });
    expect(Math.max(...seconds)).toBeLessThan(0.001);
    await page.context().close();
  });

  it('dialogs, drawer and palette', async () => {
    const { page, problems } = await stage.page();
    await stage.signIn(page);
    const found: Record<string, string[]> = {};
    const look = async (name: string) => {
      await page.waitForTimeout(250);
      await shot(page, `open-${name}`);
      const list = await serious(page);
      if (list.length) found[name] = list;
    };
    const go = async (path: string) => {
      await page.goto(stage.url + path);
      await settled(page);
    };
    await go('/vms');
    await page.keyboard.press('?');
    await look('keys');
    await page.keyboard.press('Escape');
    await page.keyboard.press('Control+k');
    await page.locator('.x-palette input').fill('web');
    await page.waitForSelector('.x-offer-label >> text=web-1');
    await look('palette');
    await page.keyboard.press('Escape');
    await page.getByLabel('Filter VMs').fill('power:');
    await page.waitForSelector('.x-completion');
    await look('completion');
    await page.getByLabel('Filter VMs').fill('');
    await page.keyboard.press('Escape');
    await page.getByLabel('Actions for web-1').click();
    await look('vm-menu');
    await page.getByLabel('Copy as a command: Shut down').click();
    await look('copy');
    await page.keyboard.press('Escape');
    await page.getByLabel('Actions for mail').click();
    await page.getByRole('menuitem', { name: 'Delete' }).first().click();
    await page.waitForSelector('#ask-name');
    await look('delete');
    await page.keyboard.press('Escape');
    await page.getByLabel('Select all that are shown').click();
    await page.getByText('With the selected').click();
    await page.getByRole('menuitem', { name: 'Shut down' }).click();
    await look('bulk');
    await page.keyboard.press('Escape');
    // What loses something wants the number of what is chosen.
    await page.getByLabel('Select all that are shown').click();
    await page.getByText('With the selected').click();
    await page.getByRole('menuitem', { name: 'Power off' }).click();
    await page.waitForSelector('#bulk-count');
    await look('bulk-typed');
    await page.keyboard.press('Escape');
    await page.getByLabel('Tasks', { exact: true }).first().click();
    await look('drawer');
    await go(all['vm-summary'] ?? '/');
    await page.getByRole('button', { name: 'Change: Hardware' }).click();
    await page.fill('#hw-pin', '0-');
    await page.getByText('Numbers and ranges').waitFor();
    await look('hardware');
    await page.keyboard.press('Escape');
    await page.getByRole('button', { name: 'Change: Protection' }).click();
    await look('protection');
    await page.keyboard.press('Escape');
    await page.getByRole('button', { name: 'Actions for mail' }).click();
    await page.getByRole('menuitem', { name: 'Clone' }).first().click();
    await page.waitForSelector('#clone-name');
    await look('clone');
    await go('/hosts');
    await page.keyboard.press('c');
    await look('add-host');
    await go('/hosts');
    await page.getByLabel(/^Actions for/).first().click();
    await page.getByRole('menuitem', { name: 'Begin maintenance' }).click();
    await look('maintenance');
    await go(all.host ?? '/');
    await page.getByRole('button', { name: 'Say where its power is switched' }).click();
    await look('power-control');
    await page.keyboard.press('Escape');
    await go(all['vm-summary'] ?? '/');
    await page.getByRole('button', { name: 'Actions for mail' }).click();
    await page.getByText('High availability of its pool is off.').waitFor();
    await go('/storage');
    await page.keyboard.press('c');
    await look('create-sr');
    await go('/templates');
    await page.keyboard.press('c');
    await look('import-template');
    await go('/disks');
    await page.getByLabel(/^Actions for/).first().click();
    await page.getByRole('menuitem', { name: 'Make larger' }).click();
    await look('resize');
    await go('/disks');
    await page.getByRole('button', { name: 'Upload a file' }).click();
    await page.setInputFiles('#upload-file', { name: 'shop.ova', mimeType: 'application/octet-stream', buffer: Buffer.from(`${'shop.ovf'.padEnd(257, '\0')}ustar`.padEnd(512, '\0')) });
    await page.getByText('This is OVA').waitFor();
    await look('upload');
    await go('/security-groups');
    await page.keyboard.press('c');
    await page.fill('#group-ingress-rules', 'ssh');
    await page.getByText('This is no rule: ssh').waitFor();
    await look('create-group');
    await go('/networks');
    await page.keyboard.press('c');
    await page.locator('#network-kind').selectOption('bond');
    await look('create-network');
    await go('/users');
    await page.keyboard.press('c');
    await page.waitForSelector('#user-name');
    await look('create-user');
    await page.keyboard.press('Escape');
    await go(all.pool ?? '/');
    await page.getByRole('button', { name: 'Balance now' }).click();
    await page.getByRole('dialog').locator('.x-loading').waitFor({ state: 'detached' });
    await look('balance');
    // The first field has the focus, also where none asked for it.
    expect(await page.evaluate(() => document.activeElement?.id)).toBe('balance-performance');
    await page.keyboard.press('Escape');
    await page.getByRole('button', { name: 'Change how' }).click();
    await look('balance-settings');
    await page.keyboard.press('Escape');
    await go('/vms?q=power:running');
    await page.getByLabel('Views').click();
    await page.getByRole('menuitem', { name: 'Save this view' }).click();
    await look('view');
    expect(found).toEqual({});
    expect(problems).toEqual([]);
    await page.context().close();
  }, 300_000);
});
