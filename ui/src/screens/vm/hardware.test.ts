// Forms of hardware and of custom fields: what is said of them to the API.

import { describe, expect, it } from 'vitest';
import type { VmSpec } from '../../api/generated';
import { capFits, customOf, customText, hardwareDraft, newHardware, pinFits, weightFits } from './hardware';

const spec = (hardware: VmSpec['hardware']): VmSpec => ({
  name: 'web-1',
  memory: { target: 128, max: 128 },
  vcpus: { online: 1, max: 1 },
  platform: { kind: 'hvm' },
  hardware,
});

describe('the hardware of a VM', () => {
  it('comes back from its form as it went in', () => {
    const full = { cpu: { weight: 512, cap: 250, pin: '0-3,8' }, pci: ['0000:03:00.0'], cd: { vdi: 'iso' }, guest_agent: true };
    expect(newHardware(spec(full), hardwareDraft(spec(full)))).toEqual({ ...full, cd: { iso: 'iso' } });
  });

  it('says nothing of what is as Xen has it', () => {
    expect(newHardware(spec(undefined), hardwareDraft(spec(undefined)))).toEqual({});
  });

  it('keeps a drive that is empty, and lets one go', () => {
    const drive = spec({ cd: {} });
    expect(newHardware(drive, hardwareDraft(drive))).toEqual({ cd: {} });
    expect(newHardware(drive, { ...hardwareDraft(drive), cd: false })).toEqual({});
  });

  it.each<[string, boolean]>([
    ['', true],
    ['3', true],
    ['0-3,8', true],
    ['0-', false],
    ['a', false],
    ['1,,2', false],
  ])('runs on the CPUs "%s": %s', (text, fits) => {
    expect(pinFits(text)).toBe(fits);
  });

  it.each<[string, boolean]>([
    ['', true],
    ['256', true],
    ['0', false],
    ['65536', false],
    ['1.5', false],
  ])('has the weight and the limit "%s": %s', (text, fits) => {
    expect(weightFits(text)).toBe(fits);
    expect(capFits(text)).toBe(fits);
  });
});

describe('custom fields', () => {
  it('are lines', () => {
    expect(customOf('owner=ann\n\nurl = https://x/?a=b \n')).toEqual({ owner: 'ann', url: 'https://x/?a=b' });
    expect(customText({ owner: 'ann', cost: '12' })).toBe('owner=ann\ncost=12');
  });

  it.each(['ann', '=ann', 'a=1\na=2'])('are refused as %j', (text) => {
    expect(customOf(text)).toBeUndefined();
  });
});
