// What is asked for of each kind of network, and what is not asked for.

import { describe, expect, it } from 'vitest';
import type { CreateNetwork, Uplink } from '../../api/generated';
import { createNetwork, EMPTY_NETWORK, networkProblems, networkReady, uplinkWords, type NetworkDraft } from './draft';

const named = (part: Partial<NetworkDraft>): NetworkDraft => ({ ...EMPTY_NETWORK, name: 'lan', ...part });

describe('a network', () => {
  it.each<[string, Partial<NetworkDraft>, CreateNetwork]>([
    ['a bridge that is there', { bridge: 'xenbr0', mtu: '9000' }, { name: 'lan', description: '', bridge: 'xenbr0' }],
    ['a card', { kind: 'interface', interface: 'eth1' }, { name: 'lan', description: '', uplink: { kind: 'interface', interface: 'eth1' } }],
    ['a VLAN', { kind: 'interface', interface: 'eth1', vlan: '20', mtu: '9000' }, { name: 'lan', description: '', uplink: { kind: 'interface', interface: 'eth1', vlan: 20 }, mtu: 9000 }],
    ['a bond', { kind: 'bond', bond: 'b0', interfaces: 'eth2, eth3', mode: 'lacp', pool: 'p' }, { name: 'lan', description: '', uplink: { kind: 'bond', bond: 'b0', interfaces: ['eth2', 'eth3'], mode: 'lacp' }, pool: 'p' }],
    ['nothing', { kind: 'internal', interface: 'eth1' }, { name: 'lan', description: '', uplink: { kind: 'internal' } }],
    ['a tunnel', { kind: 'private', vni: '5' }, { name: 'lan', description: '', uplink: { kind: 'private', vni: 5 } }],
  ])('of %s', (_name, part, asked) => {
    expect(networkReady(named(part))).toBe(true);
    expect(createNetwork(named(part))).toEqual(asked);
  });

  it.each<[string, Partial<NetworkDraft>, (keyof NetworkDraft)[]]>([
    ['no card', { kind: 'interface' }, ['interface']],
    ['a name that Linux does not take', { kind: 'interface', interface: 'a-name-that-is-too-long' }, ['interface']],
    ['a VLAN too high', { kind: 'interface', interface: 'eth1', vlan: '4095' }, ['vlan']],
    ['a bond of one', { kind: 'bond', bond: 'b0', interfaces: 'eth2' }, ['interfaces']],
    ['a tunnel without a number', { kind: 'private' }, ['vni']],
    ['packets too small', { kind: 'internal', mtu: '500' }, ['mtu']],
    ['what another kind lacks', { bridge: 'xenbr0', vlan: '9999', mtu: '1' }, []],
  ])('with %s', (_name, part, wrong) => {
    expect(Object.keys(networkProblems(named(part)))).toEqual(wrong);
  });

  it('is said in a few words', () => {
    const t = (text: string, values: Record<string, unknown> = {}) => text.replace(/\{\{(\w+)\}\}/g, (_hole, name: string) => String(values[name]));
    const said = (uplink?: Uplink) => uplinkWords(uplink, t);
    expect(said({ kind: 'interface', interface: 'eth1', vlan: 20 })).toBe('VLAN 20 of eth1');
    expect(said({ kind: 'bond', bond: 'b0', interfaces: ['eth2', 'eth3'], mode: 'lacp' })).toBe('b0 (eth2, eth3)');
    expect(said()).toMatch(/bridge/);
  });
});
