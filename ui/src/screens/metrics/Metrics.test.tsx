// The tab: what it asks, what it draws, how it is read with the keys, and what it says when there is nothing.

import { fireEvent, screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { queries } from '../../api/client';
import type { Metric, MetricSeries, MetricSeriesList, QueryMetrics, Unit } from '../../api/generated';
import { Refusal, serious, show } from '../../testing/show';
import { Metrics } from './Metrics';
import type { Values } from './series';

const made = vi.hoisted((): { options: { series: { spanGaps?: boolean }[] }; data: (number | null)[][] }[] => []);
vi.mock('uplot', () => ({
  default: class {
    cursor = {};
    constructor(options: never, data: never) {
      made.push({ options, data });
    }
    setData(data: never) {
      Object.assign(made.at(-1) ?? {}, { data });
    }
    setSize() {}
    setCursor() {}
    valToPos = () => 0;
    destroy() {}
  },
}));

const series = (metric: Metric, unit: Unit, avg: Values): MetricSeries => ({ of: 'vm', id: 'v', name: 'web-1', metric, unit, avg, min: avg, max: avg });
const list = (from: string, ...all: MetricSeries[]): MetricSeriesList => ({ from, step_s: 60, total: 1, series: all });
const tab = <Metrics of="vm" id="v" name="web-1" />;

describe('the metrics of a VM', () => {
  beforeEach(() => void (made.length = 0));

  it('are drawn with their gaps, and what was not measured is named', async () => {
    const shown = await show(tab, { answers: { 'metrics.query': list('2026-01-01T00:00:00Z', series('cpu', '%', [10, null, 30])) } });
    expect(await screen.findByRole('slider', { name: 'CPU over time' })).toBeTruthy();
    expect(made).toHaveLength(1);
    expect(made[0]?.data.at(-1)).toEqual([10, null, 30]);
    expect(made[0]?.options.series.slice(1).every(({ spanGaps }) => spanGaps === false)).toBe(true);
    expect(screen.getByText(/^Not measured in this time: Memory, Disk throughput/)).toBeTruthy();
    const told = within(screen.getByRole('grid', { name: 'CPU' })).getAllByRole('cell').map(({ textContent }) => textContent);
    expect(told).toEqual(['CPU', '30%', '20%', '30%']);
    expect(shown.calls('metrics.query')[0]).toMatchObject({ of: 'vm', object: 'v' });
    expect(await serious()).toEqual([]);
  });

  it('are read point by point with the arrow keys', async () => {
    await show(tab, { answers: { 'metrics.query': list('2026-01-01T00:00:00Z', series('cpu', '%', [10, null, 30])) } });
    const chart = await screen.findByRole('slider');
    const press = (key: string) => {
      fireEvent.keyDown(chart, { key });
      return chart.getAttribute('aria-valuetext');
    };
    expect(press('ArrowLeft')).toMatch(/: CPU 30%$/);
    expect(press('ArrowLeft')).toMatch(/: CPU —$/);
    expect(press('Home')).toMatch(/: CPU 10%$/);
    expect(press('ArrowLeft')).toMatch(/: CPU 10%$/);
    expect(press('End')).toMatch(/: CPU 30%$/);
  });

  it('are a table, too, with an empty cell for a gap; the address says so', async () => {
    const shown = await show(tab, { answers: { 'metrics.query': list('2026-01-01T00:00:00Z', series('memory', 'B', [1024, null])) } });
    await userEvent.click(await screen.findByRole('button', { name: 'Table' }));
    expect(shown.address()).toBe('/?look=table');
    await screen.findByRole('cell', { name: '1 KiB' });
    const rows = screen.getAllByRole('row').slice(1).map((row) => within(row).getAllByRole('cell').map(({ textContent }) => textContent));
    expect(rows.map(([, value]) => value)).toEqual(['—', '1 KiB']);
  });

  it('take their stretch of time from the address', async () => {
    const shown = await show(tab, { at: '/?range=day&until=2026-01-02T00:00:00Z', answers: { 'metrics.query': list('2026-01-01T00:00:00Z', series('cpu', '%', [1])) } });
    await screen.findByRole('slider');
    expect(shown.calls('metrics.query')).toEqual([{ of: 'vm', object: 'v', from: '2026-01-01T00:00:00.000Z', to: '2026-01-02T00:00:00.000Z' }]);
    await userEvent.click(screen.getByRole('button', { name: 'Earlier' }));
    expect(shown.address()).toContain('until=2026-01-01T00%3A00%3A00.000Z');
    await userEvent.click(screen.getByRole('button', { name: 'Until now' }));
    await userEvent.click(screen.getByRole('button', { name: 'Year' }));
    expect(shown.address()).toBe('/?range=year');
  });

  it('go on by asking for their end only', async () => {
    const now = Math.floor(Date.now() / 60_000) * 60;
    const point = (seconds: number) => (seconds / 60) % 50;
    // Answers as the API does: on a grid that is as fine as asked, from `from` to now.
    const answer = ({ from }: QueryMetrics) => {
      const first = Math.floor(Date.parse(from ?? '') / 60_000) * 60;
      const times = Array.from({ length: (now - first) / 60 + 1 }, (_, at) => first + at * 60);
      return list(new Date(first * 1000).toISOString(), series('cpu', '%', times.map(point)));
    };
    const shown = await show(tab, { answers: { 'metrics.query': answer } });
    await screen.findByRole('slider');
    const whole = made[0]?.data[0]?.length;
    await queries.refetchQueries();
    const [first, second] = shown.calls('metrics.query') as unknown as QueryMetrics[];
    expect(Date.parse(second?.from ?? '') - Date.parse(first?.from ?? '')).toBeGreaterThan(3_400_000);
    expect(second?.step_s).toBe(60);
    await waitFor(() => expect(Math.abs((made[0]?.data[0]?.length ?? 0) - (whole ?? 0))).toBeLessThanOrEqual(1));
    expect(made[0]?.data[3]?.at(-1)).toBe(point(now));
  });

  it('say so when there are none', async () => {
    await show(tab, { answers: { 'metrics.query': list('2026-01-01T00:00:00Z') } });
    expect(await screen.findByText('Nothing was measured')).toBeTruthy();
  });

  it('say why they cannot be read, and are asked for again', async () => {
    let broken = true;
    const answer = () => {
      if (broken) throw new Refusal('the store is gone', 'internal');
      return list('2026-01-01T00:00:00Z', series('cpu', '%', [1]));
    };
    await show(tab, { answers: { 'metrics.query': answer } });
    expect(await screen.findByText('the store is gone')).toBeTruthy();
    broken = false;
    await userEvent.click(screen.getByRole('button', { name: 'Try again' }));
    expect(await screen.findByRole('slider')).toBeTruthy();
  });
});
