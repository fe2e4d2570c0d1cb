// One metric of many: which are drawn, in which order they stand, and what is asked.

import { screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it, vi } from 'vitest';
import type { MetricInfo, MetricSeriesList, QueryMetrics } from '../../api/generated';
import { page, Refusal, serious, show } from '../../testing/show';
import Hosts from '../host/Hosts';
import Compare from './Compare';
import { metricsOf } from './MetricsLink';

const made = vi.hoisted((): { series: unknown[] }[] => []);
vi.mock('uplot', () => ({
  default: class {
    cursor = {};
    constructor(options: { series: unknown[] }) {
      made.push(options);
    }
    setData() {}
    setSize() {}
    destroy() {}
  },
}));

const metrics: MetricInfo[] = [
  { metric: 'cpu', of: ['vm', 'host'], summary: '', unit: '%' },
  { metric: 'load', of: ['host'], summary: '', unit: '' },
];
const many = (values: number[], total = values.length) => ({ of, metrics: [metric = 'cpu'] = [] }: QueryMetrics): MetricSeriesList => ({
  from: '2026-01-01T00:00:00Z',
  step_s: 10,
  total,
  series: values.map((value, at) => ({ of: of ?? 'vm', id: `v${at}`, name: `web-${at}`, metric, unit: '%', avg: [value], min: [value], max: [value] })),
});
const answers = { 'metrics.list': metrics, 'metrics.query': many([1, 7, 3, 9, 2, 8, 5, 4]), 'filter.complete': { from: 0, candidates: [] }, 'vm.complete': { from: 0, candidates: [] } };

describe('the way there', () => {
  it('carries the filter of the list', async () => {
    const hosts = page([{ id: 'h', name: 'xen1', pool: 'p', status: 'connected', vms: 0, address: '', certificate_expires: '' }] as never[]);
    await show(<Hosts />, { answers: { ...answers, 'host.list': hosts, 'pool.list': page([]), 'network.list': page([]) }, at: '/hosts?q=pool:a' });
    expect((await screen.findByRole('link', { name: 'Their metrics beside each other' })).getAttribute('href')).toBe('/metrics?of=host&q=pool%3Aa');
    expect([metricsOf('vm', ''), metricsOf('vm', 'tag:a b')]).toEqual(['/metrics', '/metrics?q=tag%3Aa+b']);
  });
});

describe('one metric of many', () => {
  it('draws the greatest, and has all in the table', async () => {
    const shown = await show(<Compare />, { answers, at: '/metrics?q=tag:prod' });
    await screen.findByRole('slider', { name: 'CPU over time' });
    expect(made.at(-1)?.series).toHaveLength(1 + 6 * 3);
    const links = await within(await screen.findByRole('region', { name: 'The greatest first' })).findAllByRole('link');
    expect(links.map(({ textContent }) => textContent)).toEqual(['web-3', 'web-5', 'web-1', 'web-6', 'web-7', 'web-2', 'web-4', 'web-0']);
    expect(links[0]?.getAttribute('href')).toBe('/vms/v3/metrics');
    expect(shown.calls('metrics.query')[0]).toMatchObject({ of: 'vm', filter: 'tag:prod', metrics: ['cpu'] });
    expect(await serious()).toEqual([]);
  });

  it('offers what hosts have, and says so in the address', async () => {
    const shown = await show(<Compare />, { answers, at: '/metrics' });
    await userEvent.click(await screen.findByRole('button', { name: 'Hosts' }));
    await userEvent.selectOptions(screen.getByRole('combobox', { name: 'Metric' }), 'load');
    expect(shown.address()).toBe('/metrics?of=host&metric=load');
    await waitFor(() => expect(shown.calls('metrics.query').at(-1)).toMatchObject({ of: 'host', metrics: ['load'] }));
    await userEvent.click(screen.getByRole('button', { name: 'VMs' }));
    // VMs have no load: what is shown is a metric that they have.
    expect((await screen.findByRole<HTMLSelectElement>('combobox', { name: 'Metric' })).value).toBe('cpu');
    expect(await screen.findByRole('slider', { name: 'CPU over time' })).toBeTruthy();
  });

  it('says when not all are there, none is, or the filter is wrong', async () => {
    const some = await show(<Compare />, { answers: { ...answers, 'metrics.query': many([1], 99) } });
    expect(await screen.findByText(/^1 of 99: /)).toBeTruthy();
    some.unmount();
    const none = await show(<Compare />, { answers: { ...answers, 'metrics.query': many([]) } });
    expect(await screen.findByText('Nothing was measured')).toBeTruthy();
    none.unmount();
    const broken = () => {
      throw new Refusal('there is no column colour', 'invalid');
    };
    await show(<Compare />, { answers: { ...answers, 'metrics.query': broken, 'vm.list': page([]) }, at: '/metrics?q=colour:red' });
    expect(await screen.findByText('there is no column colour')).toBeTruthy();
  });
});
