// What a text is, as the orchestrator sees it, and what of it is replaced.

import { describe, expect, it } from 'vitest';
import type { FragmentKind } from '../../api/generated';
import { filled, kindOf, textProblem, variablesIn } from './kind';

describe('a text', () => {
  it.each<[string, string, FragmentKind | undefined]>([
    ['a cloud-config', '#cloud-config\npackages: [vim]\n', 'cloud_config'],
    ['one with blanks behind', '#cloud-config  \n', 'cloud_config'],
    ['one with a word behind', '#cloud-config of the team\n', 'cloud_config'],
    ['an archive of some', '#cloud-config-archive\n', undefined],
    ['a script', '#!/bin/sh\n', 'script'],
    ['a boothook', '#cloud-boothook\n#!/bin/sh\n', 'boothook'],
    ['a template of a script', '## template: jinja\n#!/bin/sh\n', 'script'],
    ['a template of a boothook', '## template: jinja\n#cloud-boothook\n', undefined],
    ['a template of nothing', '## template: jinja', undefined],
    ['what brings more', '#include https://example.org\n', undefined],
    ['plain YAML', 'packages: [vim]\n', undefined],
    ['a blank line first', '\n#cloud-config\n', undefined],
  ])('%s', (_name, text, kind) => {
    expect(kindOf(text)).toBe(kind);
    expect(textProblem(text) === undefined).toBe(kind !== undefined);
  });

  it('is not longer than a fragment may be, in bytes', () => {
    expect(textProblem(`#!${'#'.repeat(64 * 1024 - 2)}`)).toBeUndefined();
    expect(textProblem(`#!${'é'.repeat(32 * 1024)}`)).toMatch(/64 KiB/);
  });
});

describe('variables', () => {
  it('are those that the VM does not bring itself', () => {
    expect(variablesIn(['#!/bin/sh\njoin ${name} ${key} ${PATH}', '${key} ${hostname} ${a b} ${'])).toEqual(['PATH', 'key']);
  });

  it('are filled in once, and what is unknown stays', () => {
    const values = new Map([['role', '${name}'], ['name', 'web-1'], ['none', '']]);
    expect(filled('echo ${role} ${name} ${PATH} ${role ${name}} ${constructor} [${none}]', values)).toBe('echo ${name} web-1 ${PATH} ${role web-1} ${constructor} []');
  });
});
