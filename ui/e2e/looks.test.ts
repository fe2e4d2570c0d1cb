// Every screen, full and empty, light and dark: axe finds nothing serious, nothing breaks the security policy, nothing
// is asked from elsewhere. With SHOTS=folder a picture of each is kept, to be looked at.

import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { screens } from './screens';
import { possible, Stage } from './stage';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const shots = process.env.SHOTS;
if (shots) mkdirSync(shots, { recursive: true });

interface Finding {
  id: string;
  impact: string;
  nodes: { target: string[]; failureSummary: string }[];
}

async function serious(page: Page): Promise<string[]> {
  await page.evaluate(axe);
  const violations = await page.evaluate(
    `axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] }).then((r) => r.violations)`,
  );
  return (violations as Finding[])
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target.join(' ')).slice(0, 3).join(' | ')}`);
}

async function settled(page: Page) {
  // Not waitForFunction: it evaluates text in the page, which the security policy forbids.
  await page.locator('h1, h2').first().waitFor();
  await page.locator('.x-loading').first().waitFor({ state: 'detached' });
  await page.waitForTimeout(150);
}

async function shot(page: Page, name: string) {
  if (shots) await page.screenshot({ path: `${shots}/${name}.png` });
}

describe.skipIf(!possible)('the looks', () => {
  let stage: Stage;
  let all: Record<string, string>;

  beforeAll(async () => {
    stage = await Stage.start(2);
  });
  afterAll(async () => stage?.stop());

  async function each(kind: string, options: Parameters<Stage['page']>[0], wanted?: string[]) {
    const { page, problems } = await stage.page(options);
    await stage.signIn(page);
    const found: Record<string, string[]> = {};
    for (const [name, path] of Object.entries(all)) {
      if (wanted && !wanted.includes(name)) continue;
      await page.goto(stage.url + path);
      await settled(page);
      await shot(page, `${name}-${kind}`);
      const list = await serious(page);
      if (list.length) found[name] = list;
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

  it('empty', async () => {
    const hosts = await stage.call<{ items: { id: string }[] }>('host.list');
    const host = hosts.items[0]?.id ?? '';
    all = screens('00000000-0000-7000-8000-000000000000', host, '00000000-0000-7000-8000-000000000000');
    await each('empty', {}, ['home', 'topology', 'vms', 'vm-summary', 'host-vms', 'disks', 'imports', 'tasks', 'task', 'events']);
  }, 300_000);

  it('full, light and dark, wide and narrow', async () => {
    await stage.call('user.create', { name: 'dora', password: 'correct horse battery', bindings: [{ role: 'operator', scope: { kind: 'tag', value: 'dev' } }] });
    const made = await stage.run('vm.create', stage.small('web-1', { start: true, tags: ['prod', 'web'], description: 'The shop’s front end' }));
    for (const name of ['web-2', 'db-1', 'db-2', 'build-1', 'mail']) {
      await stage.run('vm.create', stage.small(name, { start: name !== 'mail', tags: name.startsWith('db') ? ['prod', 'db'] : ['dev'] }));
    }
    await stage.run('vm.pause', { vm: 'build-1' });
    await stage.run('vm.suspend', { vm: 'db-2' });
    const tasks = await stage.call<{ items: { id: string }[] }>('task.list');
    const hosts = await stage.call<{ items: { id: string; name: string }[] }>('host.list');
    all = screens(made.object ?? '', hosts.items[0]?.id ?? '', tasks.items[0]?.id ?? '');
    await each('light', {});
    await each('dark', { width: 1920, height: 1080, dark: true });
    await each('phone', { width: 390, height: 844 }, ['home', 'vms', 'vm-summary', 'hosts', 'host', 'tasks', 'task', 'events', 'about']);
  }, 600_000);

  it('in French, with nothing left in English', async () => {
    await each('fr', { lang: 'fr-FR' }, ['home', 'vms', 'vm-summary', 'new-vm', 'audit']);
  }, 300_000);

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
    await page.goto(`${stage.url}/vms`);
    await settled(page);
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
    await page.getByLabel('Tasks', { exact: true }).first().click();
    await look('drawer');
    await page.goto(`${stage.url}/hosts`);
    await settled(page);
    await page.keyboard.press('c');
    await look('add-host');
    expect(found).toEqual({});
    expect(problems).toEqual([]);
    await page.context().close();
  }, 300_000);
});
