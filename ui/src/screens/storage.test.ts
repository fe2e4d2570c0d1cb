// Snapshots as a tree, what cloud-init is told, what a deployment asks for, tags and views.

import { describe, expect, it } from 'vitest';
import type { Snapshot, Template } from '../api/generated';
import { viewOf, withSearch, withView } from '../list/Views';
import { tagsOf } from './fleet/tags';
import { tree } from './snapshot/tree';
import { cloudInit, cloudProblem, NO_CLOUD, preview, type CloudDraft } from './template/cloudInit';
import { deployParams, emptyDeploy } from './template/draft';

const snapshot = (id: string, parent?: string, created = id) => ({ id, parent, created }) as Snapshot;

describe('the tree of snapshots', () => {
  const shape = (list: Snapshot[]) => tree(list).map(({ snapshot, level, lines, last }) => [snapshot.id, level, lines.map(Number).join(''), last]);

  it('has parents before children and siblings by age', () => {
    expect(shape([snapshot('c', 'a', '3'), snapshot('b', 'a', '2'), snapshot('d', 'b', '4'), snapshot('a', undefined, '1')])).toEqual([
      ['a', 1, '', true],
      ['b', 2, '0', false],
      ['d', 3, '01', true],
      ['c', 2, '0', true],
    ]);
  });

  it('hangs one whose parent is gone on the root', () => {
    expect(shape([snapshot('x', 'gone')])).toEqual([['x', 1, '', true]]);
  });
});

describe('what cloud-init is told', () => {
  const with_ = (part: Partial<CloudDraft>): CloudDraft => ({ ...NO_CLOUD, ...part });
  it.each<[string, Partial<CloudDraft>, boolean]>([
    ['nothing filled in', {}, true],
    ['a key', { keys: 'ssh-ed25519 AAAA ann@laptop\n' }, true],
    ['half a key', { keys: 'AAAA' }, false],
    ['a host name with a space', { hostname: 'a b' }, false],
    ['user-data that would be ignored', { kind: 'own', userData: 'packages: [vim]' }, false],
    ['a script', { kind: 'own', userData: '#!/bin/sh\n' }, true],
    ['a network without a version', { network: 'eth0' }, false],
    ['a network', { network: 'version: 2\n' }, true],
    ['nothing at all', { kind: 'none', hostname: 'a b' }, true],
  ])('%s', (_name, part, fine) => expect(cloudProblem(with_(part)) === undefined).toBe(fine));

  const base = { id: 'f', name: 'base', text: '#!/bin/sh\njoin ${role}\n' };
  it.each<[string, Partial<CloudDraft>, boolean]>([
    ['what cannot be merged', { kind: 'own', userData: '#include https://example.org' }, false],
    ['what can', { kind: 'own', userData: '#cloud-config\n' }, true],
    ['a variable of it', { variables: 'role=web=1\n' }, true],
    ['a variable of the network', { network: 'version: 2\n${net}', variables: 'net=lan' }, true],
    ['one that is nowhere', { variables: 'site=x' }, false],
    ['one without a value', { variables: 'role' }, false],
    ['one with a blank', { variables: 'a b=x' }, false],
    ['one twice', { variables: 'role=a\nrole=b' }, false],
    ['the VM’s own', { variables: 'name=x' }, false],
  ])('beside a fragment, %s', (_name, part, fine) => expect(cloudProblem(with_(part), [base]) === undefined).toBe(fine));

  it('waits for a text before it calls a variable unused', () => {
    expect(cloudProblem(with_({ variables: 'site=x' }), [{ id: 'f', name: 'base' }])).toBeUndefined();
    expect(cloudProblem(with_({ variables: 'site=x' }))).toMatch(/none of the texts/);
  });

  it('is 32 fragments at most', () => {
    const many = (count: number) => Array.from({ length: count }, (_, at) => ({ ...base, id: `${at}` }));
    expect(cloudProblem(with_({}), many(32))).toBeUndefined();
    expect(cloudProblem(with_({}), many(33))).toMatch(/32/);
  });

  it('has fragments and variables as they were chosen', () => {
    expect(cloudInit(with_({ fragments: ['b', 'a'], variables: ' role = web 1 \n\nkey=a=b' }))).toEqual({ fragments: ['b', 'a'], variables: { role: 'web 1', key: 'a=b' } });
    expect(preview(with_({ kind: 'own', userData: '#!/bin/sh\n${role} ${name} ${PATH}', variables: 'role=web' }), 'web-1')).toBe('#!/bin/sh\nweb web-1 ${PATH}');
  });

  it('sends keys or user-data, never both', () => {
    const keys = 'ssh-ed25519 AAAA';
    expect(cloudInit(with_({ keys }))).toEqual({ ssh_keys: [keys] });
    expect(cloudInit(with_({ kind: 'own', keys, userData: '#!/bin/sh' }))).toEqual({ user_data: '#!/bin/sh' });
    expect(cloudInit(with_({ kind: 'none', keys }))).toBeUndefined();
  });

  it('is shown as the orchestrator writes it', () => {
    expect(preview(with_({ kind: 'own', userData: '#!/bin/sh\necho ${name} ${hostname}\n', hostname: 'www' }), 'web-1')).toBe('#!/bin/sh\necho web-1 www\n');
    expect(preview(with_({ keys: 'ssh-ed25519 AAAA' }), 'web-1')).toBe(
      '#cloud-config\n{\n  "hostname": "web-1",\n  "preserve_hostname": false,\n  "ssh_authorized_keys": [\n    "ssh-ed25519 AAAA"\n  ]\n}\n',
    );
  });
});

describe('a deployment', () => {
  const template = { id: 't', vcpus: { online: 1, max: 4 }, memory: { target: 1024, max: 1024 }, disks: [{ size: 3 * 1024 ** 3 - 1 }] } as unknown as Template;
  it('asks only for what differs', () => {
    const draft = { ...emptyDeploy(template), name: 'web-1', start: false, cloud: { ...NO_CLOUD, kind: 'none' as const } };
    expect(deployParams(template, draft)).toEqual({ template: 't', name: 'web-1' });
    expect(deployParams(template, { ...draft, vcpus: 2, memory: 2048, gib: 20 })).toEqual({
      template: 't',
      name: 'web-1',
      vcpus: { online: 2, max: 4 },
      memory: { target: 2048, max: 2048 },
      disk_size: 20 * 1024 ** 3,
    });
  });
});

describe('tags', () => {
  it('are read from what the API offers, quoted ones too', () => {
    const candidates = [
      { text: 'prod', hint: '12' },
      { text: '"on \\"call\\""', hint: '1' },
    ];
    expect(tagsOf({ from: 4, candidates })).toEqual([
      { term: 'tag:prod', name: 'prod', count: 12 },
      { term: 'tag:"on \\"call\\""', name: 'on "call"', count: 1 },
    ]);
  });
});

describe('views', () => {
  it('are what of the address is a view', () => {
    expect(viewOf(new URLSearchParams('tab=vms&q=power:running&sort=-memory'))).toBe('q=power%3Arunning&sort=-memory');
  });
  it.each([
    ['tab=rules&q=old&cols=a', 'q=new&sort=-name', 'tab=rules&q=new&sort=-name'],
    ['tab=rules&q=old', '', 'tab=rules'],
    ['', 'cols=name%2Cid', 'cols=name%2Cid'],
  ])('in %j, %j leaves what is no part of a view', (now, view, after) => {
    expect(withSearch(new URLSearchParams(now), view)).toBe(after);
  });
  it('replace one of the same name', () => {
    const list = withView(withView([], { name: 'b', search: '1' }), { name: 'a', search: '2' });
    expect(withView(list, { name: 'b', search: '3' })).toEqual([
      { name: 'a', search: '2' },
      { name: 'b', search: '3' },
    ]);
  });
});
