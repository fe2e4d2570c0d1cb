// The same values as a table, newest first: for who does not see a chart, and for a spreadsheet.

import { useMemo } from 'react';
import { useTranslation } from 'react-i18next';
import { msg } from '../../i18n/msg';
import type { Column } from '../../list/columns';
import { ListView } from '../../list/ListView';
import { Nothing } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { METRIC } from './groups';
import { timeOf, type Course, type Line } from './series';

interface Row {
  point: number;
  at: string;
}

/** So many columns fit; the others are chosen. */
const FIT = 7;

const keyOf = ({ metric, device }: Line) => (device ? `${device}.${metric}` : metric);
const headerOf = ({ device }: Line, metric: string) => (device ? `${device}: ${metric}` : metric);

export function Values({ course, name }: { course: Course; name: string }) {
  const { t } = useTranslation();
  const format = useFormat();
  const columns = useMemo((): Column<Row>[] => {
    const order = Object.keys(METRIC);
    const lines = [...course.lines].sort((a, b) => order.indexOf(a.metric) - order.indexOf(b.metric));
    const shown = (line: Line, value?: number | null) => (value == null ? '—' : format.measure(value, line.unit));
    const plain = (value?: number | null) => (value == null ? '' : String(value));
    return [
      { key: 'at', header: msg('Time'), width: 12, cell: (row) => <time dateTime={row.at}>{format.stamp(row.at)}</time>, text: (row) => row.at },
      ...lines.map((line, index): Column<Row> => ({
        key: keyOf(line),
        header: headerOf(line, t(METRIC[line.metric])),
        optional: index >= FIT,
        wide: index > 1,
        cell: ({ point }) => shown(line, line.avg[point]),
        text: ({ point }) => plain(line.avg[point]),
      })),
      ...lines.map((line): Column<Row> => ({
        key: `${keyOf(line)}.max`,
        header: t('{{metric}}, greatest', { metric: headerOf(line, t(METRIC[line.metric])) }),
        optional: true,
        cell: ({ point }) => shown(line, line.max[point]),
        text: ({ point }) => plain(line.max[point]),
      })),
    ];
  }, [course.lines, format, t]);
  const rows = useMemo(
    () => Array.from({ length: course.points }, (_, back): Row => {
      const point = course.points - 1 - back;
      return { point, at: new Date(timeOf(course, point) * 1000).toISOString() };
    }),
    [course],
  );
  return (
    <ListView
      title={t('Values')}
      heading="h2"
      noun={`metrics-${name}`}
      columns={columns}
      pages={{ rows, total: rows.length, pending: false, error: null, retry: () => undefined, everything: () => Promise.resolve(rows) }}
      id={(row) => row.at}
      name={(row) => row.at}
      empty={<Nothing title={t('Nothing was measured')} />}
    />
  );
}
