// No text is forgotten: every one in the source has its French, and none there is for nothing.

import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { en } from './en';
import { fr } from './fr';
import { pseudo } from './index';

const root = join(__dirname, '..');

function texts(): Set<string> {
  const found = new Set<string>();
  for (const name of readdirSync(root, { recursive: true, encoding: 'utf8' })) {
    if (!/\.tsx?$/.test(name) || /\.test\.|i18n\/(fr|en)/.test(name)) continue;
    const source = readFileSync(join(root, name), 'utf8');
    for (const [, text] of source.matchAll(/\b(?:t|msg)\(\s*'((?:[^'\\]|\\.)*)'/g)) found.add(text as string);
    for (const [, text] of source.matchAll(/defaults="([^"]*)"/g)) found.add(text as string);
  }
  return found;
}

const plain = (key: string) => key.replace(/_(one|many|other)$/, '');
const holes = (text: string) => [...text.matchAll(/\{\{(\w+)\}\}/g)].map(([, name]) => name).sort().join();

describe('languages', () => {
  it('finds the texts', () => {
    expect(texts().size).toBeGreaterThan(400);
  });

  it('has all of them in French', () => {
    const known = new Set(Object.keys(fr).map(plain));
    expect([...texts()].filter((text) => !known.has(text))).toEqual([]);
  });

  it('has nothing in French that is not shown', () => {
    const shown = texts();
    const left = Object.keys(fr).map(plain).filter((text) => !shown.has(text));
    // Plurals that only another text holds.
    expect(left.filter((text) => !(`${text}_one` in en))).toEqual([]);
  });

  it('has each of them once', () => {
    const folder = join(__dirname, 'fr');
    const all = readdirSync(folder).flatMap((name) => {
      const source = readFileSync(join(folder, name), 'utf8');
      return [...source.matchAll(/^ {2}(?:'((?:[^'\\]|\\.)*)'|(\w+)):/gm)].map(([, quoted, bare]) => quoted ?? bare);
    });
    expect(all.length).toBeGreaterThan(1000);
    expect(all.filter((text, place) => all.indexOf(text) !== place)).toEqual([]);
  });

  it('bends every text that counts things', () => {
    const things = /\{\{\w+\}\} (VMs|hosts|disks|backups|alarms|records)\b/;
    const straight = [...texts()].filter((text) => things.test(text) && !(`${text}_one` in en));
    // It is always many.
    expect(straight).toEqual(['The first {{count}} VMs are drawn. Hosts and networks are all here.']);
  });

  it('fills in the same names', () => {
    const wrong = Object.entries(fr).filter(([key, text]) => holes(plain(key)) !== holes(text));
    expect(wrong).toEqual([]);
  });

  it('has one and many for every text that English bends', () => {
    const bent = new Set(Object.keys(en).map(plain));
    expect([...bent].filter((text) => !(`${text}_one` in fr && `${text}_other` in fr))).toEqual([]);
  });

  it('marks and lengthens every text in the pseudo-locale, and leaves what is filled in', () => {
    expect(pseudo('Start {{name}}')).toBe('⟦Stárt {{name}}·····⟧');
  });
});
