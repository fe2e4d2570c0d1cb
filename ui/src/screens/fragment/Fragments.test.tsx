// Fragments from their making to their VM: what is written is what is sent, in the order that was chosen, and who may
// not read one is told why.

import { screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { useState } from 'react';
import { describe, expect, it } from 'vitest';
import { queries } from '../../api/client';
import type { Fragment, Template } from '../../api/generated';
import { page, Refusal, serious, show, somebody, type Answers } from '../../testing/show';
import Deploy from '../template/Deploy';
import TemplatePage from '../template/TemplatePage';
import FragmentForm from './FragmentForm';
import Fragments from './Fragments';
import { swapped } from './Picker';

const fragment = (id: string, name: string, part: Partial<Fragment> = {}): Fragment => ({ id, name, description: '', pool: 'p', kind: 'cloud_config', changed: '2026-01-01T00:00:00Z', ...part });
const base = fragment('f1', 'base', { description: 'for all' });
const web = fragment('f2', 'web', { kind: 'script' });
const db = fragment('f3', 'db');
const foreign = fragment('f4', 'elsewhere', { pool: 'q' });
const TEXTS: Record<string, string> = { f1: '#cloud-config\npackages: [vim]\n', f2: '#!/bin/sh\njoin ${name} ${role}\n', f3: '#cloud-config\n' };

const template = { id: 't', name: 'debian', pool: 'p', host: 'h', ready: true, description: '', platform: { kind: 'hvm' }, vcpus: { online: 1, max: 1 }, memory: { target: 1024, max: 1024 }, disks: [], fragments: ['f1'], created: '2026-01-01T00:00:00Z' } as unknown as Template;

const answers: Answers = {
  'fragment.list': page([web, base, db, foreign]),
  'fragment.get': ({ fragment: id }) => ({ fragment: [base, web, db].find((one) => one.id === id), user_data: TEXTS[id] }),
  'fragment.create': base,
  'fragment.update': base,
  'fragment.delete': {},
  'template.list': page([template]),
  'template.get': template,
  'template.set_fragments': template,
  'template.deploy': { task: 'x' },
  'pool.list': page([{ id: 'p', name: 'lab' }] as never[]),
  'host.list': page([]),
  'network.list': page([]),
  'sr.list': page([]),
  'filter.complete': { from: 0, candidates: [] },
};

const create = () => screen.getByRole('button', { name: 'Create' });
const names = (list: HTMLElement) => within(list).getAllByRole('listitem').map((item) => item.textContent);

describe('the list of fragments', () => {
  it('says which templates name one, and does not offer to delete it', async () => {
    await show(<Fragments />, { answers, at: '/fragments' });
    expect((await screen.findByRole('link', { name: 'debian' })).getAttribute('href')).toBe('/templates/t');
    expect(screen.getByText('Script')).toBeTruthy();
    expect(await serious()).toEqual([]);
    await userEvent.click(screen.getByRole('button', { name: 'Actions for base' }));
    const item = await screen.findByRole('menuitem', { name: /^Delete/ });
    expect(item.getAttribute('aria-disabled')).toBe('true');
    expect(within(item).getByText('Templates name it: take it out of those first.')).toBeTruthy();
  });

  it('deletes one that none names, when its name is typed', async () => {
    const shown = await show(<Fragments />, { answers, at: '/fragments' });
    await screen.findByRole('link', { name: 'debian' });
    await userEvent.click(screen.getByRole('button', { name: 'Actions for web' }));
    await userEvent.click(await screen.findByRole('menuitem', { name: /^Delete/ }));
    await userEvent.type(await screen.findByRole('textbox', { name: /^Type web to go on/ }), 'web');
    await userEvent.click(screen.getByRole('button', { name: 'Delete' }));
    expect(shown.calls('fragment.delete')).toEqual([{ fragment: 'f2' }]);
  });

  it('says what they are for where there are none', async () => {
    await show(<Fragments />, { answers: { ...answers, 'fragment.list': page([]) }, at: '/fragments', user: somebody('viewer') });
    expect(await screen.findByText('No fragments yet')).toBeTruthy();
    expect(screen.getByRole('button', { name: 'Create a fragment' }).getAttribute('aria-disabled')).toBe('true');
  });
});

describe('the form of a fragment', () => {
  it('makes one, and says what cloud-init would make of it', async () => {
    const shown = await show(<FragmentForm />, { answers, at: '/fragments/new', route: '/fragments/new' });
    await userEvent.type(await screen.findByRole('textbox', { name: /^Name/ }), 'join');
    const text = screen.getByRole('textbox', { name: /^Text/ });
    expect(screen.getByText('Cloud-config.')).toBeTruthy();
    await userEvent.clear(text);
    await userEvent.type(text, 'echo');
    expect(screen.getByText(/^The first line has to be #cloud-config/)).toBeTruthy();
    expect(create().hasAttribute('disabled')).toBe(true);
    expect(await screen.findByText('Still to be filled in or corrected: Text.')).toBeTruthy();
    await userEvent.clear(text);
    await userEvent.type(text, '#!/bin/sh');
    expect(screen.getByText('Script.')).toBeTruthy();
    expect(await serious()).toEqual([]);
    await userEvent.click(create());
    expect(shown.calls('fragment.create')).toEqual([{ name: 'join', user_data: '#!/bin/sh' }]);
    await waitFor(() => expect(shown.address()).toBe('/fragments'));
  });

  it('sends of a change what differs', async () => {
    const shown = await show(<FragmentForm />, { answers, at: '/fragments/f1', route: '/fragments/:fragment' });
    const description = await screen.findByRole('textbox', { name: /^Description/ });
    expect((screen.getByRole('textbox', { name: /^Text/ }) as HTMLTextAreaElement).value).toBe(TEXTS.f1);
    expect(screen.getByText('Nothing is changed yet.')).toBeTruthy();
    await userEvent.type(description, ' of us');
    await userEvent.click(screen.getByRole('button', { name: 'Change' }));
    expect(shown.calls('fragment.update')).toEqual([{ fragment: 'f1', description: 'for all of us' }]);
  });

  it('says why somebody may not read it, and what went wrong', async () => {
    await show(<FragmentForm />, { answers, at: '/fragments/f1', route: '/fragments/:fragment', user: somebody('viewer') });
    expect(await screen.findByText('You cannot see what fragments say')).toBeTruthy();
    const refused = () => {
      throw new Refusal('there is no fragment f9', 'not-found');
    };
    await show(<FragmentForm />, { answers: { ...answers, 'fragment.get': refused }, at: '/fragments/f9', route: '/fragments/:fragment' });
    expect(await screen.findByText(/there is no fragment f9/)).toBeTruthy();
    expect(screen.getByRole('button', { name: 'Try again' })).toBeTruthy();
  });
});

describe('the form of a fragment that was read before', () => {
  /** Read by another page, long ago. */
  function ReadBefore() {
    useState(() => queries.setQueryData(['fragment.get', { fragment: 'f1' }], { fragment: base, user_data: '#cloud-config\n# of then\n' }, { updatedAt: 1 }));
    return <FragmentForm />;
  }
  const at = { at: '/fragments/f1', route: '/fragments/:fragment' };

  it('has what it says now', async () => {
    await show(<ReadBefore />, { answers, ...at });
    expect(((await screen.findByRole('textbox', { name: /^Text/ })) as HTMLTextAreaElement).value).toBe(TEXTS.f1);
  });

  it('does not bring back what it said then, where it cannot be read', async () => {
    const refused = () => {
      throw new Refusal('the store is closed', 'unavailable');
    };
    await show(<ReadBefore />, { answers: { ...answers, 'fragment.get': refused }, ...at });
    expect(await screen.findByText(/the store is closed/)).toBeTruthy();
    expect(screen.queryByRole('textbox', { name: /^Text/ })).toBeNull();
  });
});

describe('a template', () => {
  it('changes places', () => {
    expect(swapped(['a', 'b', 'c'], 0)).toEqual(['b', 'a', 'c']);
    expect(swapped(['a', 'b', 'c'], 1)).toEqual(['a', 'c', 'b']);
    expect(swapped(['a'], 0)).toEqual(['a']);
  });

  it('gets fragments of its pool, in an order', async () => {
    const shown = await show(<TemplatePage />, { answers, at: '/templates/t', route: '/templates/:template' });
    expect((await screen.findByRole('link', { name: 'base' })).getAttribute('href')).toBe('/fragments/f1');
    await userEvent.click(screen.getByRole('button', { name: 'Actions for debian' }));
    await userEvent.click(await screen.findByRole('menuitem', { name: /^Choose its fragments/ }));
    const dialog = within(await screen.findByRole('dialog'));
    const adder = await dialog.findByRole('combobox', { name: 'Fragment to add' });
    expect(within(adder).queryByRole('option', { name: /elsewhere/ })).toBeNull();
    expect(dialog.getByRole('button', { name: 'Change' }).hasAttribute('disabled')).toBe(true);
    await userEvent.selectOptions(adder, 'f2');
    await userEvent.click(dialog.getByRole('button', { name: 'Add' }));
    expect(document.activeElement).toBe(adder);
    await userEvent.selectOptions(adder, 'f3');
    await userEvent.click(dialog.getByRole('button', { name: 'Add' }));
    expect(names(dialog.getByRole('list', { name: 'Fragments' }))).toEqual(['base', 'web', 'db']);
    await userEvent.click(dialog.getByRole('button', { name: 'Move db up' }));
    await userEvent.click(dialog.getByRole('button', { name: 'Take base out' }));
    expect(names(dialog.getByRole('list', { name: 'Fragments' }))).toEqual(['db', 'web']);
    expect(await serious()).toEqual([]);
    await userEvent.click(dialog.getByRole('button', { name: 'Change' }));
    expect(shown.calls('template.set_fragments')).toEqual([{ template: 't', fragments: ['f3', 'f2'] }]);
  });
});

describe('a deployment', () => {
  it('adds fragments behind those of the template, and shows what the guest reads', async () => {
    const shown = await show(<Deploy />, { answers, at: '/templates/t/deploy', route: '/templates/:template/deploy' });
    await userEvent.type(await screen.findByRole('textbox', { name: /^Name/ }), 'web-1');
    expect(await screen.findByText(/^Behind those of the template: base\./)).toBeTruthy();
    const adder = screen.getByRole('combobox', { name: 'Fragment to add' });
    expect(within(adder).queryByRole('option', { name: /^base/ })).toBeNull();
    await userEvent.selectOptions(adder, 'f2');
    await userEvent.click(screen.getByRole('button', { name: 'Add' }));
    expect(await screen.findByText(/join web-1 \$\{role\}/)).toBeTruthy();
    const variables = screen.getByRole('textbox', { name: 'Variables' });
    await userEvent.type(variables, 'site=x');
    expect(screen.getByText('A variable is in none of the texts; it would be refused.')).toBeTruthy();
    await userEvent.clear(variables);
    await userEvent.type(variables, 'role=front end');
    expect(screen.getByText(/join web-1 front end/)).toBeTruthy();
    expect(await serious()).toEqual([]);
    await userEvent.click(screen.getByRole('button', { name: 'Deploy' }));
    expect(shown.calls('template.deploy')).toEqual([{ template: 't', name: 'web-1', cloud_init: { fragments: ['f2'], variables: { role: 'front end' } }, start: true }]);
  });

  it('says that a guest without a disk for cloud-init gets none of them', async () => {
    await show(<Deploy />, { answers, at: '/templates/t/deploy', route: '/templates/:template/deploy' });
    await userEvent.click(await screen.findByRole('radio', { name: /^Nothing/ }));
    expect(screen.getByText('Nor does it get the fragments of the template.')).toBeTruthy();
    expect(screen.queryByRole('combobox', { name: 'Fragment to add' })).toBeNull();
  });
});
