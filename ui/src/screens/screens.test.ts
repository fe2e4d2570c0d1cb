import { describe, expect, it } from 'vitest';
import type { Host, Network, Pool, SourceVm, Vm, Sr, VmRow, VmSpec } from '../api/generated';
import { formats } from '../parts/format';
import { quoted } from '../list/filter';
import { places, verbOf } from '../shell/palette';
import { EMPTY_IMPORT, fingerprintIn, importParams, importReady, waveParams } from './import/new/draft';
import { hitBy, storageOf } from './topology/hit';
import { EMPTY, params, ready } from './vm/new/draft';
import { changes } from './vm/EditVm';

const same = (text: string) => text;

describe('the wizard', () => {
  it('asks only for what was chosen', () => {
    const draft = { ...EMPTY, name: 'web-1', kernel: 'vmlinuz', tags: 'web prod web', nics: ['n'], host: '' };
    expect(params(draft)).toEqual({
      name: 'web-1',
      platform: { kind: 'pvh', boot: { kernel: 'vmlinuz', cmdline: 'console=hvc0' } },
      vcpus: { online: 1, max: 1 },
      memory: { target: 1024, max: 1024 },
      disks: [{ size: 10 * 1024 ** 3 }],
      nics: [{ network: 'n' }],
      tags: ['prod', 'web'],
      start: true,
    });
  });

  it('puts a CD into the drive of an HVM guest alone', () => {
    expect(params({ ...EMPTY, name: 'w', kind: 'hvm', iso: 'i' })).toMatchObject({ hardware: { cd: { iso: 'i' } }, platform: { boot_order: ['disk', 'cdrom'] } });
    expect(params({ ...EMPTY, name: 'w', kernel: 'k', iso: 'i' })).not.toHaveProperty('hardware');
    expect(params({ ...EMPTY, name: 'w', kernel: 'k', together: ['v'] })).toMatchObject({ together_with: ['v'] });
  });

  it.each([
    ['', 'k', false],
    ['web 1', 'k', false],
    ['web-1', '', false],
    ['web-1', 'k', true],
  ])('name %j and kernel %j', (name, kernel, fine) => {
    expect(ready.basics({ ...EMPTY, name, kernel })).toBe(fine);
  });
});

describe('an import', () => {
  const vm = { id: 'vm-7', networks: ['VM Network', 'DMZ', 'DMZ'] } as unknown as SourceVm;
  const draft = { ...EMPTY_IMPORT, source: 's', networks: { DMZ: 'n1' } };
  const now = new Date('2026-01-01T00:00:00Z');
  it('maps each network once, and leaves out what has none', () => {
    expect(importParams(draft, vm, now)).toEqual({ source: 's', vm: 'vm-7', networks: [{ from: 'VM Network' }, { from: 'DMZ', to: 'n1' }], start: true });
  });
  it.each([
    ['now', { cut_over_at: '2026-01-01T00:00:00.000Z' }],
    ['downtime', { downtime_s: 60 }],
  ] as const)('cuts over %s', (cutOver, wanted) => expect(importParams({ ...draft, cutOver }, vm, now)).toMatchObject(wanted));
  it('becomes a wave with the networks of all', () => {
    const vms = [vm, { id: 'vm-8', networks: ['VM Network', 'Backup'] } as unknown as SourceVm];
    expect(waveParams({ ...draft, vms }, 'friday', { overall: 10 }, now)).toEqual({
      name: 'friday',
      source: 's',
      vms: ['vm-7', 'vm-8'],
      caps: { overall: 10 },
      options: { networks: [{ from: 'Backup' }, { from: 'DMZ', to: 'n1' }, { from: 'VM Network' }], start: true },
    });
  });
  it('does not cut over in the past', () => {
    expect(importReady({ ...draft, cutOver: 'at', at: '2025-12-31T00:00' }, now.getTime())).toBe(false);
    expect(importReady({ ...draft, cutOver: 'at', at: '' }, now.getTime())).toBe(false);
  });
  it('reads the fingerprint out of the refusal', () => {
    const print = Array.from({ length: 32 }, (_, at) => at.toString(16).padStart(2, '0')).join(':').toUpperCase();
    expect(fingerprintIn(`the certificate has the SHA-256 ${print}, which nobody confirmed`)).toBe(print);
    expect(fingerprintIn('no route to host 10.0.0.1')).toBeUndefined();
  });
});

describe('a change', () => {
  it('sends what differs and nothing else', () => {
    const spec = { vcpus: { online: 1, max: 2 }, memory: { target: 128, max: 256 } } as VmSpec;
    const vm = { id: 'v', name: 'web-1', description: '', tags: ['b', 'a'] } as unknown as Vm;
    const form = { name: 'web-1', description: '', tags: 'a b', vcpus: 1, maxVcpus: 2, memory: 128, maxMemory: 256, onCrash: 'restart', autostart: false };
    expect(changes(vm, spec, form)).toEqual({ vm: 'v' });
    expect(changes(vm, spec, { ...form, memory: 512, autostart: true })).toEqual({
      vm: 'v',
      memory: { target: 512, max: 512 },
      autostart: { order: 100 },
    });
  });
});

describe('the palette', () => {
  it.each([
    ['shut down web', 'vm.shutdown', 'web'],
    ['Start', 'vm.start', ''],
    ['power off', 'vm.power_off', ''],
    ['startup', undefined, undefined],
  ])('%j', (typed, method, rest) => {
    const found = verbOf(typed, same);
    expect([found?.verb.method, found?.rest]).toEqual([method, rest]);
  });

  it('quotes words for the filter language', () => {
    expect(quoted('a "b"')).toBe('"a \\"b\\""');
    expect(quoted('')).toBe('');
  });

  it('shows the places that one may see', () => {
    const viewer = { id: 'u', name: 'v', bindings: [{ role: 'viewer' as const, scope: { kind: 'all' as const } }], disabled: false, created: '' };
    const found = places('', viewer, same).map(({ label }) => label);
    expect(found).toContain('Hosts');
    expect(found).not.toContain('Audit log');
  });
});

describe('numbers and times', () => {
  const english = formats('en');
  it.each([
    [512, '512 MiB'],
    [1536, '1.5 GiB'],
    [2048, '2 GiB'],
  ])('%d MiB', (mib, text) => expect(english.mib(mib)).toBe(text));

  it('are as the language has them', () => {
    expect(formats('fr').mib(1536)).toBe('1,5 GiB');
    expect(english.ago('2026-01-01T00:00:00Z', Date.parse('2026-01-01T00:05:00Z'))).toBe('5 minutes ago');
    expect(formats('fr').ago('2026-01-01T00:00:00Z', Date.parse('2026-01-01T00:05:00Z'))).toBe('il y a 5 minutes');
  });
});

describe('what is hit', () => {
  const picture = {
    pools: [{ id: 'p', name: 'p' }] as Pool[],
    hosts: [
      { id: 'h1', pool: 'p', facts: { bridges: [{ name: 'br0' }] } },
      { id: 'h2', pool: 'p', facts: { bridges: [] } },
    ] as unknown as Host[],
    networks: [{ id: 'n', pool: 'p', bridge: 'br0' }] as Network[],
    srs: [
      { id: 'own1', hosts: ['h1'] },
      { id: 'own2', hosts: ['h2'] },
      { id: 'nas', hosts: ['h1', 'h2'], spec: { kind: 'nfs' } },
    ] as unknown as Sr[],
    storage: storageOf([
      { attached_to: 'v1', sr: 'own1' },
      { attached_to: 'v2', sr: 'own2' },
      { attached_to: 'v2', sr: 'nas' },
      { attached_to: null, sr: 'own1' },
    ]),
    vms: [
      { id: 'v1', host: 'h1' },
      { id: 'v2', host: 'h2' },
      { id: 'v3', host: 'h1' },
    ] as VmRow[],
    inNetwork: new Set(['v1']),
  };
  it.each<[string, string[], string[]]>([
    ['h1', ['v1', 'v3'], ['own1']],
    ['n', ['v1'], []],
    ['p', ['v1', 'v2', 'v3'], ['own1', 'own2', 'nas']],
    ['own1', ['v1'], ['own1']],
    ['nas', ['v2'], ['nas']],
  ])('when %s fails', (id, vms, srs) => {
    expect([...hitBy(picture, id).vms]).toEqual(vms);
    expect([...hitBy(picture, id).srs]).toEqual(srs);
  });
});
