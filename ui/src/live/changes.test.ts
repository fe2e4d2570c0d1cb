// Which lists are read again when somebody has changed something.

import { describe, expect, it } from 'vitest';
import { METHODS } from '../api/generated';
import { concerned, heardOf } from './changes';

describe('a change of a noun', () => {
  it.each([
    ['network', ['network', 'vm']],
    ['user', ['user']],
    ['alarm_rule', ['alarm_rule', 'alarm']],
    ['vm', []],
    ['task', []],
    ['system', ['system']],
  ])('of %s concerns %j', (noun, nouns) => {
    expect(concerned(noun)).toEqual(nouns);
  });

  it('that was missed may concern all that nothing else tells of', () => {
    const all = concerned(undefined);
    expect(all).toContain('network');
    expect(all).toContain('token');
    expect(all).not.toContain('vm');
  });

  it.each([
    ['vm', ['vm.nics']],
    ['host', ['host.power_control']],
    ['vdi', []],
    ['network', ['network', 'vm']],
  ])('by a call, of %s, has %j read again', (noun, read) => {
    expect(heardOf(noun)).toEqual(read);
  });

  it('by calls that were missed has everything read again that rows do not tell, by the name of a method', () => {
    const methods = heardOf(undefined).filter((one) => one.includes('.'));
    expect(methods).toEqual(['vm.nics', 'host.power_control']);
    expect(methods.filter((method) => !(method in METHODS))).toEqual([]);
  });
});
