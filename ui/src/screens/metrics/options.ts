// How uPlot draws a chart: axes in the words of the language, colours of the theme, gaps as gaps. It decides nothing
// about what is measured.

import type { AlignedData, Axis, Options, Series } from 'uplot';
import type { Unit } from '../../api/generated';
import type { Format } from '../../parts/format';
import { alone, timeOf, type Course, type Line, type Values } from './series';

/** How many lines are told apart: by colour, and by dashes and width for who does not see that. */
export const STROKES = 6;
const DASHES = [[], [8, 4], [2, 3]];

/** Bytes are divided by two, everything else by ten. */
const BINARY = Array.from({ length: 54 }, (_, power) => 2 ** power);

export interface Colours {
  text: string;
  grid: string;
  font: string;
  strokes: string[];
}

/** Of the element's style, which follows the theme. */
export function coloursOf(element: Element): Colours {
  const style = getComputedStyle(element);
  const of = (name: string) => style.getPropertyValue(name).trim();
  return {
    text: of('--x-chart-text') || 'currentColor',
    grid: of('--x-chart-grid') || 'grey',
    font: `12px ${style.fontFamily || 'sans-serif'}`,
    strokes: Array.from({ length: STROKES }, (_, at) => of(`--x-line-${at + 1}`) || 'currentColor'),
  };
}

/** Where a line lies between its least and greatest values, both are drawn as its shade. */
export const hasShade = ({ min, max }: Pick<Line, 'min' | 'max'>): boolean => min.some((value, at) => value !== null && value !== max[at]);

/** Times, then three of each line: its least, greatest and average values. The average is drawn last, over the shade. */
export function dataOf(course: Course, lines: Line[]): AlignedData {
  const times = Array.from({ length: course.points }, (_, point) => timeOf(course, point));
  return [times, ...lines.flatMap(({ avg, min, max }) => [min, max, avg])] as AlignedData;
}

/** A canvas has no `color-mix` everywhere: the theme's colours are `#rrggbb`. */
const shade = (colour = ''): string => (/^#[0-9a-f]{6}$/i.test(colour) ? `${colour}33` : 'transparent');

function drawn(colours: Colours, at: number, values: () => Values): Series[] {
  const stroke = colours.strokes[at % STROKES] ?? colours.text;
  const edge: Series = { stroke: 'transparent', width: 0, spanGaps: false, points: { show: false } };
  const line: Series = {
    stroke,
    width: at % STROKES < DASHES.length ? 2 : 4,
    dash: DASHES[at % DASHES.length],
    spanGaps: false,
    points: { show: false, size: 5, fill: stroke, stroke, filter: () => alone(values()) },
  };
  return [edge, edge, line];
}

export interface Wish {
  width: number;
  height: number;
  unit: Unit;
  /** What the values never go beyond, where that is known. */
  most?: number;
  colours: Colours;
  format: Format;
  /** What is drawn now: read anew with each drawing. */
  now(): { course: Course; lines: Line[] };
  /** The point under the cursor. */
  point(at: number | null): void;
}

export function optionsOf({ width, height, unit, most, colours, format, now, point }: Wish): Options {
  const axis: Axis = { stroke: colours.text, font: colours.font, grid: { stroke: colours.grid, width: 1 }, ticks: { show: false } };
  const bytes = unit === 'B' || unit === 'B/s';
  const { lines } = now();
  return {
    width,
    height,
    padding: [8, 8, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false, setScale: false }, sync: { key: 'metrics', setSeries: false } },
    scales: {
      x: { time: true, range: () => [now().course.from, timeOf(now().course, now().course.points)] },
      y: { range: (_chart, _least, greatest) => [0, most ?? (greatest > 0 ? greatest * 1.1 : 1)] },
    },
    axes: [
      { ...axis, space: 80, values: (_chart, splits, _axis, _space, apart) => splits.map((at) => format.tick(at, apart)) },
      { ...axis, size: 76, ...(bytes ? { incrs: BINARY } : {}), values: (_chart, splits) => splits.map((value) => format.measure(value, unit)) },
    ],
    series: [{}, ...lines.flatMap((_, at) => drawn(colours, at, () => now().lines[at]?.avg ?? []))],
    bands: lines.map((_, at) => ({ series: [3 * at + 2, 3 * at + 1], fill: shade(colours.strokes[at % STROKES]) })),
    hooks: { setCursor: [(chart) => point(chart.cursor.idx ?? null)] },
  };
}
