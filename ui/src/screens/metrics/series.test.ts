// Grids of time: what came later is put behind what was there, and what was not measured stays a gap.

import { describe, expect, it } from 'vitest';
import type { Metric, MetricSeriesList, Unit } from '../../api/generated';
import { formats } from '../../parts/format';
import { dataOf, hasShade } from './options';
import { moved, rangeOf, stampOf, untilOf } from './ranges';
import { alone, courseOf, endOf, follow, told, type Values } from './series';

const at = (seconds: number) => new Date(seconds * 1000).toISOString();
const answer = (from: number, series: Partial<Record<Metric, Values>>, step = 10): MetricSeriesList => ({
  from: at(from),
  step_s: step,
  total: 1,
  series: Object.entries(series).map(([metric, avg]) => ({ of: 'vm', id: 'v', name: 'web-1', metric: metric as Metric, unit: '%', avg, min: avg, max: avg })),
});

describe('a course that goes on', () => {
  const before = courseOf(answer(100, { cpu: [1, 2, 3, null] }));
  it.each<[string, MetricSeriesList, number, number, Partial<Record<Metric, Values>>]>([
    ['by new points', answer(120, { cpu: [3, 4, 5] }), 100, 100, { cpu: [1, 2, 3, 4, 5] }],
    ['and loses those that are too old', answer(120, { cpu: [3, 4, 5] }), 112, 110, { cpu: [2, 3, 4, 5] }],
    ['by what is known better now', answer(120, { cpu: [7, null] }), 100, 100, { cpu: [1, 2, 7, null] }],
    ['with a gap where nothing was measured', answer(130, { cpu: [null, 5] }), 100, 100, { cpu: [1, 2, 3, null, 5] }],
    ['with a metric that is new', answer(130, { cpu: [4], power: [9] }), 100, 100, { cpu: [1, 2, 3, 4], power: [null, null, null, 9] }],
    ['without one that is no more', answer(140, { power: [9] }), 140, 140, { power: [9] }],
  ])('%s', (_name, later, since, from, wanted) => {
    const after = follow(before, courseOf(later), since);
    expect(after?.from).toBe(from);
    expect(Object.fromEntries(after?.lines.map(({ metric, avg }) => [metric, avg]) ?? [])).toEqual(wanted);
    expect(after?.lines.every(({ avg, min, max }) => avg.length === after.points && min.length === after.points && max.length === after.points)).toBe(true);
    expect(after && endOf(after)).toBe(endOf(courseOf(later)));
  });

  it.each<[string, MetricSeriesList]>([
    ['of another step', answer(120, { cpu: [1] }, 60)],
    ['with a hole between', answer(150, { cpu: [1] })],
    ['of an odd grid', answer(125, { cpu: [1] })],
  ])('is read anew %s', (_name, later) => expect(follow(before, courseOf(later), 100)).toBeUndefined());
});

describe('what is told of a line', () => {
  it('leaves gaps out, and never takes them for 0', () => {
    expect(told({ avg: [null, 4, 8, null], min: [null, 1, 8, null], max: [null, 9, 8, null] })).toEqual({ last: 8, least: 1, mean: 6, most: 9 });
    expect(told({ avg: [null], min: [null], max: [null] })).toEqual({ last: null, least: null, mean: null, most: null });
  });
  it('finds points that no line goes through', () => expect(alone([1, null, 2, null, 3, 4, null, 0])).toEqual([0, 2, 7]));
});

describe('what is drawn', () => {
  it('has times, and of each line the least, the greatest and the average, with its gaps', () => {
    const course = courseOf(answer(100, { cpu: [1, null] }));
    course.lines = course.lines.map((line) => ({ ...line, min: [0, null], max: [5, null] }));
    expect(dataOf(course, course.lines)).toEqual([
      [100, 110],
      [0, null],
      [5, null],
      [1, null],
    ]);
    expect(course.lines.map(hasShade)).toEqual([true]);
    expect(courseOf(answer(100, { cpu: [1] })).lines.map(hasShade)).toEqual([false]);
  });
});

describe('the stretch of time', () => {
  const hour = rangeOf('hour');
  it('is an hour where the address says nothing that there is', () => expect([rangeOf(null), rangeOf('decade')]).toEqual([hour, hour]));
  it('reads its end from the address as it wrote it', () => {
    expect(untilOf(stampOf(1_800_000_000))).toBe(1_800_000_000);
    expect([untilOf(null), untilOf('noon')]).toEqual([undefined, undefined]);
  });
  it('moves by its length, and not into the future', () => {
    expect(moved(hour, undefined, 10_000, -1)).toBe(6_400);
    expect(moved(hour, 5_000, 10_000, 1)).toBe(8_600);
    expect(moved(hour, 6_400, 10_000, 1)).toBeUndefined();
  });
});

describe('a measured value', () => {
  it.each<[number, Unit, string, string]>([
    [12.34, '%', '12.3%', '12,3 %'],
    [1_572_864, 'B/s', '1.5 MiB/s', '1,5 MiB/s'],
    [0.04, '', '0.04', '0,04'],
    [31.26, 'W', '31.3 W', '31,3 W'],
    [1234, '/s', '1,234/s', '1 234/s'],
  ])('%d %s', (value, unit, english, french) => {
    const plain = (text: string) => text.replace(/[\u00a0\u202f]/g, ' ');
    expect([plain(formats('en').measure(value, unit)), plain(formats('fr').measure(value, unit))]).toEqual([english, french]);
  });
});
