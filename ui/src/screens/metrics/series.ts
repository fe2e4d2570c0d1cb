// Series on one grid of time: as they came, put together with what came later, and what is told of each.
//
// What always holds: every line of a course has as many values as there are points, and a value that was not measured is
// `null`, never 0 and never the one before.

import type { Measured, Metric, MetricSeries, MetricSeriesList, Unit } from '../../api/generated';

export type Values = (number | null)[];

export interface Line {
  of: Measured;
  /** Of the VM or host. */
  id: string;
  name: string;
  /** A disk or NIC of the VM. */
  device?: string;
  metric: Metric;
  unit: Unit;
  avg: Values;
  min: Values;
  max: Values;
}

export interface Course {
  /** Seconds since 1970 of the first point. */
  from: number;
  /** Seconds between two points. */
  step: number;
  points: number;
  lines: Line[];
  /** How many objects there are, of which some may not be here. */
  total: number;
}

export const endOf = ({ from, step, points }: Course): number => from + step * points;

export const timeOf = ({ from, step }: Pick<Course, 'from' | 'step'>, point: number): number => from + step * point;

const line = ({ of, id, name, device, metric, unit, avg, min, max }: MetricSeries): Line => ({ of, id, name, ...(device ? { device } : {}), metric, unit, avg, min, max });

export function courseOf(answer: MetricSeriesList): Course {
  const points = Math.max(0, ...answer.series.map(({ avg }) => avg.length));
  return { from: Math.floor(Date.parse(answer.from) / 1000), step: answer.step_s, points, lines: answer.series.map(line), total: answer.total };
}

const same = (one: Line) => (other: Line) => one.id === other.id && one.device === other.device && one.metric === other.metric;

/** The values of both; where both have some, those that came later. */
function joined(grid: Course, before: [Course, Values | undefined], later: [Course, Values | undefined]): Values {
  const values: Values = new Array<number | null>(grid.points).fill(null);
  const put = ([course, of]: [Course, Values | undefined]) => {
    const first = (course.from - grid.from) / grid.step;
    for (let point = Math.max(0, -first); point < course.points && first + point < grid.points; point++) values[first + point] = of?.[point] ?? null;
  };
  put(before);
  put(later);
  return values;
}

/** `before` with what `later` says of its stretch, from `since` on; nothing where the two are not of one grid. */
export function follow(before: Course, later: Course, since: number): Course | undefined {
  const { step } = before;
  if (later.step !== step || later.from > endOf(before) || later.from < before.from || (later.from - before.from) % step !== 0) return undefined;
  if (later.points === 0) return before;
  const from = Math.min(later.from, before.from + Math.max(0, Math.floor((since - before.from) / step)) * step);
  const grid: Course = { ...later, from, points: (endOf(later) - from) / step };
  const known = [...before.lines, ...later.lines.filter((line) => !before.lines.some(same(line)))];
  const lines = known.map((line) => {
    const [old, young] = [before.lines.find(same(line)), later.lines.find(same(line))];
    const of = (what: 'avg' | 'min' | 'max') => joined(grid, [before, old?.[what]], [later, young?.[what]]);
    return { ...line, ...young, avg: of('avg'), min: of('min'), max: of('max') };
  });
  return { ...grid, lines: lines.filter(({ avg }) => avg.some((value) => value !== null)) };
}

export interface Told {
  last: number | null;
  least: number | null;
  mean: number | null;
  most: number | null;
}

const known = (values: Values): number[] => values.filter((value) => value !== null);

/** What is said of a line in a row. */
export function told({ avg, min, max }: Pick<Line, 'avg' | 'min' | 'max'>): Told {
  const values = known(avg);
  if (values.length === 0) return { last: null, least: null, mean: null, most: null };
  return {
    last: values.at(-1) ?? null,
    least: known(min).reduce((least, value) => Math.min(least, value), Infinity),
    mean: values.reduce((sum, value) => sum + value, 0) / values.length,
    most: known(max).reduce((most, value) => Math.max(most, value), -Infinity),
  };
}

/** Points that have none beside them: no line goes through them. */
export function alone(values: Values): number[] {
  return values.flatMap((value, at) => (value !== null && (values[at - 1] ?? null) === null && (values[at + 1] ?? null) === null ? [at] : []));
}
