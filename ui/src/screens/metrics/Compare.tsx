// One metric of many VMs or hosts beside each other: of a pool, of a tag, of what else a filter finds. The greatest are
// drawn, all are in the table.

import { Card, CardBody, FormSelect, FormSelectOption, PageSection, ToggleGroup, ToggleGroupItem } from '@patternfly/react-core';
import MetricsIcon from '@patternfly/react-icons/dist/esm/icons/chart-line-icon';
import { lazy, Suspense, useMemo } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import type { Measured, Metric } from '../../api/generated';
import { useRead } from '../../api/client';
import { msg } from '../../i18n/msg';
import type { Column } from '../../list/columns';
import { ListView } from '../../list/ListView';
import { QueryBar } from '../../list/QueryBar';
import { ErrorBox, Failed, Loading, Nothing } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { PageTitle } from '../../parts/PageTitle';
import { useUrlState } from '../../parts/url';
import { Controls, useStretch } from './Controls';
import { METRIC, MOST } from './groups';
import { STROKES } from './options';
import { told, type Course, type Line, type Told } from './series';
import { useCourse } from './useCourse';

const Chart = lazy(() => import('./Chart'));

interface Row {
  line: Line;
  sum: Told;
}

/** Each object with what is told of it, the greatest average first. */
export function ranked(course: Course): Row[] {
  const rows = course.lines.map((line) => ({ line, sum: told(line) }));
  return rows.sort((a, b) => (b.sum.mean ?? -1) - (a.sum.mean ?? -1) || a.line.name.localeCompare(b.line.name));
}

export default function Compare() {
  const { t } = useTranslation();
  const { range, until } = useStretch();
  const [kind, setKind] = useUrlState('of');
  const [query, setQuery] = useUrlState('q');
  const [chosen, setMetric] = useUrlState('metric');
  const metrics = useRead('metrics.list', {});
  const of: Measured = kind === 'host' ? 'host' : 'vm';
  const there = (metrics.data ?? []).filter((info) => info.of.includes(of)).map(({ metric }) => metric);
  const metric: Metric = there.find((one) => one === chosen) ?? 'cpu';
  const filter = query ?? '';
  const wanted = useMemo(() => ({ of, filter, metrics: [metric] }), [of, filter, metric]);
  const read = useCourse(wanted, range, until);
  const course = read.data;
  const bar = { value: filter, set: setQuery, label: t('Which of them') };
  const body = () => {
    if (read.isPending) return <Loading />;
    if (!course) return read.error?.data.field === 'filter' ? <ErrorBox error={read.error} /> : <Failed error={read.error} retry={() => void read.refetch()} />;
    if (course.lines.length === 0) {
      return (
        <div className="x-none">
          <Nothing icon={MetricsIcon} title={t('Nothing was measured')}>
            {t('Nothing that passes the filter has this metric in this time.')}
          </Nothing>
        </div>
      );
    }
    return <Ranking course={course} metric={metric} />;
  };
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <div className="x-head">
        <div>
          <PageTitle>{t('Metrics')}</PageTitle>
          <p className="x-dim">{t('One metric of many, beside each other. All of one is on its page.')}</p>
        </div>
      </div>
      <div className="x-labels">
        <ToggleGroup isCompact aria-label={t('Of what')}>
          <ToggleGroupItem text={t('VMs')} buttonId="of-vm" isSelected={of === 'vm'} onChange={() => setKind(null)} />
          <ToggleGroupItem text={t('Hosts')} buttonId="of-host" isSelected={of === 'host'} onChange={() => setKind('host')} />
        </ToggleGroup>
        <FormSelect aria-label={t('Metric')} value={metric} className="x-half" onChange={(_event, metric) => setMetric(metric)}>
          {there.map((one) => (
            <FormSelectOption key={one} value={one} label={t(METRIC[one])} />
          ))}
        </FormSelect>
      </div>
      {of === 'vm' ? <QueryBar {...bar} complete="vm.complete" placeholder={t('Filter: power:running tag:prod memory:>4GiB, or words')} /> : <QueryBar {...bar} noun="host" placeholder={t('Filter: pool:default name:xen1, or words')} />}
      <Controls course={course} />
      {body()}
    </PageSection>
  );
}

function Ranking({ course, metric }: { course: Course; metric: Metric }) {
  const { t } = useTranslation();
  const format = useFormat();
  const rows = useMemo(() => ranked(course), [course]);
  const drawn = useMemo(() => rows.slice(0, STROKES).map(({ line }) => ({ ...line, label: line.name })), [rows]);
  const columns = useMemo((): Column<Row>[] => {
    const value = (key: keyof Told, header: string): Column<Row> => ({
      key,
      header,
      width: 10,
      wide: key === 'least',
      cell: ({ line, sum }) => (sum[key] === null ? '—' : format.measure(sum[key], line.unit)),
      text: ({ sum }) => String(sum[key] ?? ''),
    });
    const page = ({ id }: Line, of: string) => (of === 'host' ? `/hosts/${id}?tab=metrics` : `/vms/${id}/metrics`);
    return [
      { key: 'name', header: msg('Name'), cell: ({ line }) => <Link to={page(line, line.of)}>{line.name}</Link>, text: ({ line }) => line.name },
      value('last', msg('Last')),
      value('mean', msg('Average')),
      value('most', msg('Peak')),
      value('least', msg('Least')),
    ];
  }, [format]);
  const left = course.total - rows.length;
  return (
    <>
      <Card isCompact>
        <CardBody>
          <Suspense fallback={<Loading lines={4} />}>
            <Chart title={t(METRIC[metric])} course={course} lines={drawn} most={MOST[metric]} />
          </Suspense>
          {rows.length > STROKES && <p className="x-dim">{t('Drawn are the {{count}} with the greatest average.', { count: STROKES })}</p>}
        </CardBody>
      </Card>
      <ListView
        title={t('The greatest first')}
        about={left > 0 ? t('{{here}} of {{total}}: of those that pass the filter the first 50 by name are looked at, and some have no values.', { here: format.number(rows.length), total: format.number(course.total) }) : undefined}
        heading="h2"
        noun={`metrics-${metric}`}
        columns={columns}
        pages={{ rows, total: rows.length, pending: false, error: null, retry: () => undefined, everything: () => Promise.resolve(rows) }}
        id={({ line }) => line.id}
        name={({ line }) => line.name}
        empty={<Nothing title={t('Nothing was measured')} />}
      />
    </>
  );
}
