// What uPlot really draws of it, on a canvas that writes down what it is told.

import { render, screen } from '@testing-library/react';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { startLanguages } from '../../i18n';
import Chart, { type ChartLine } from './Chart';
import type { Course, Values } from './series';

class Path {
  calls: string[] = [];
  moveTo() {}
  lineTo() {
    this.calls.push('line');
  }
  rect() {
    this.calls.push('rect');
  }
  arc() {
    this.calls.push('arc');
  }
  closePath() {}
}

const texts: string[] = [];
const clips: Path[] = [];
const fills: [colour: string, path?: Path][] = [];
const context = () =>
  new Proxy({} as Record<string, unknown>, {
    get: (kept, name) => {
      if (name in kept) return kept[name as string];
      if (name === 'measureText') return () => ({ width: 40 });
      if (name === 'fillText') return (text: string) => texts.push(text);
      if (name === 'clip') return (path: Path) => clips.push(path);
      if (name === 'fill') return (path?: Path) => fills.push([String(kept.fillStyle), path]);
      return () => undefined;
    },
    set: (kept, name, value) => ((kept[name as string] = value), true),
  });

const course = (points: number, step = 60): Course => ({ from: Date.parse('2026-01-01T12:00:00Z') / 1000, step, points, lines: [], total: 1 });
const line = (avg: Values, more: Partial<ChartLine> = {}): ChartLine => ({ of: 'vm', id: 'v', name: 'web-1', metric: 'cpu', unit: '%', avg, min: avg, max: avg, label: 'CPU', ...more });
const cutInto = (parts: number) => clips.some((path) => path?.calls.filter((call) => call === 'rect').length === parts && path.calls.length === parts);

describe('a chart', () => {
  beforeEach(async () => {
    [texts, clips, fills].forEach((list) => (list.length = 0));
    vi.stubGlobal('Path2D', Path);
    vi.spyOn(HTMLCanvasElement.prototype, 'getContext').mockImplementation(context as never);
    await startLanguages('en');
  });
  afterEach(() => {
    document.body.innerHTML = '';
    vi.unstubAllGlobals();
    vi.restoreAllMocks();
  });

  const draw = async (lines: ChartLine[], points = lines[0]?.avg.length ?? 0, most?: number) => {
    render(<Chart title="CPU" course={course(points)} lines={lines} most={most} />);
    await vi.waitFor(() => expect(texts.length).toBeGreaterThan(0), { timeout: 20_000 });
  };

  it('has axes from nothing to what is the most, in the words of the language', async () => {
    await draw([line([10, 20, 30])], 3, 100);
    expect(texts).toContain('0%');
    expect(texts).toContain('100%');
    expect(texts.some((text) => /^\d\d?:\d\d/.test(text))).toBe(true);
  });

  it('divides bytes by two, not by ten', async () => {
    await draw([line([0, 3 * 1024 ** 3, 1024 ** 3], { metric: 'memory', unit: 'B' })]);
    expect(texts).toContain('1 GiB');
    expect(texts.filter((text) => /iB$/.test(text)).every((text) => /^\d+(\.5)? [KMG]iB$/.test(text))).toBe(true);
  });

  it('leaves a gap where nothing was measured', async () => {
    const gap = [10, 11, 12, null, null, 15, 16, 17];
    await draw([line(gap)]);
    expect(cutInto(2)).toBe(true);
  });

  it('has none where everything was', async () => {
    await draw([line([10, 11, 12, 13, 14, 15, 16, 17])]);
    expect(cutInto(2)).toBe(false);
  });

  it('marks a value that stands alone, and no others', async () => {
    await draw([line([10, 11, 12, null, 14, null, 16, 17])]);
    expect(fills.flatMap(([, path]) => path?.calls ?? []).filter((call) => call === 'arc')).toHaveLength(1);
  });

  it('says what its lines come to', async () => {
    await draw([line([10, null, 30]), line([1, 2, 3], { id: 'w', label: 'other', min: [0, 1, 2], max: [5, 6, 7] })]);
    const rows = screen.getAllByRole('row').slice(1).map(({ textContent }) => textContent);
    expect(rows).toEqual(['CPU30%20%30%', 'other3%2%7%']);
    expect(screen.getByText(/^The shade reaches/)).toBeTruthy();
  });
});
