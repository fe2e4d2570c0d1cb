// Which lists are read again when somebody has changed something.

import { describe, expect, it } from 'vitest';
import { concerned } from './changes';

describe('a change of a noun', () => {
  it.each([
    ['network', ['network', 'vm']],
    ['user', ['user']],
    ['alarm_rule', ['alarm_rule', 'alarm']],
    ['vm', []],
    ['task', []],
  ])('of %s concerns %j', (noun, nouns) => {
    expect(concerned(noun)).toEqual(nouns);
  });

  it('that was missed may concern all that nothing else tells of', () => {
    const all = concerned(undefined);
    expect(all).toContain('network');
    expect(all).toContain('token');
    expect(all).not.toContain('vm');
  });
});
