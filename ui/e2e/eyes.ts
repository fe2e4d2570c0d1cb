// What a screen is held against: axe, texts that nobody translated, texts that are cut off.

import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Page } from 'playwright-core';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const shots = process.env.SHOTS;
if (shots) mkdirSync(shots, { recursive: true });

interface Finding {
  id: string;
  impact: string;
  nodes: { target: string[]; failureSummary: string }[];
}

/** What axe finds serious or critical of WCAG 2.2 AA. */
export async function serious(page: Page): Promise<string[]> {
  await page.evaluate(axe);
  const violations = await page.evaluate(
    `axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] }).then((r) => r.violations)`,
  );
  return (violations as Finding[])
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target.join(' ')).slice(0, 3).join(' | ')}`);
}

/** Until it shows what it has. */
export async function settled(page: Page) {
  // Not waitForFunction: it evaluates text in the page, which the security policy forbids.
  await page.locator('h1, h2').first().waitFor();
  await page.locator('.x-loading').first().waitFor({ state: 'detached' });
  await page.waitForTimeout(100);
}

/** With SHOTS=folder, a picture to be looked at. */
export async function shot(page: Page, name: string) {
  if (shots) await page.screenshot({ path: `${shots}/${name}.png` });
}

/** Words of the UI's own that the pseudo-locale did not mark: headings, buttons, labels, headers of tables, tabs. */
export async function unmarked(page: Page, names: string[]): Promise<string[]> {
  return page.evaluate((names) => {
    const months = Array.from({ length: 12 }, (_, month) => new Intl.DateTimeFormat(undefined, { month: 'long' }).format(new Date(2026, month, 1)));
    const chrome = 'h1, h2, h3, button, th, dt, label, legend, [role=tab], .pf-v6-c-nav__link, .pf-v6-c-empty-state__body, .pf-v6-c-helper-text, p.x-dim';
    const found = new Set<string>();
    for (const element of document.querySelectorAll<HTMLElement>(chrome)) {
      if (element.closest('code, kbd, pre, .x-title') || element.offsetParent === null) continue;
      const copy = element.cloneNode(true) as HTMLElement;
      copy.querySelectorAll('code, kbd, pre, a, strong, .pf-v6-c-badge, .pf-v6-c-label, time').forEach((part) => part.remove());
      // What is left outside of the marks.
      let rest = (copy.textContent ?? '').replace(/⟦[^⟦⟧]*(⟦[^⟦⟧]*⟧[^⟦⟧]*)*⟧/g, '');
      for (const name of names) rest = rest.replaceAll(name, '');
      // Of the browser's own language: sizes and dates.
      rest = rest.replace(/\d[\d.,]*\s(?:[KMGTP]iB|B|GHz|MHz)/g, '');
      for (const month of months) rest = rest.replaceAll(month, '');
      if (/\p{L}{3}/u.test(rest)) found.add(rest.trim().slice(0, 60));
    }
    return [...found];
  }, names);
}

/** Buttons, headers and labels whose text does not fit, and a page that is wider than its window. */
export async function cutOff(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const found: string[] = [];
    for (const element of document.querySelectorAll<HTMLElement>('button, [role=tab], dt, label, h1, h2')) {
      if (element.offsetParent === null || element.closest('.x-scroller, [hidden], .pf-v6-c-label, .x-dot')) continue;
      const style = getComputedStyle(element);
      if (style.overflowX !== 'visible' && element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 1) found.push(`cut: ${element.textContent?.slice(0, 40)}`);
    }
    const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
    if (wide > 1) found.push(`the page is ${wide} pixels too wide`);
    return found;
  });
}
