import { describe, expect, it } from 'vitest';
import { endOf } from './link';

describe('how a console ends', () => {
  it.each([
    [1000, 'ended'],
    [4000, 'failed'],
    [4001, 'lost'],
    [4003, 'refused'],
    [1006, 'lost'],
  ])('with code %d', (code, at) => {
    expect(endOf(code, 'why')).toEqual({ at, why: 'why' });
  });
});
