// One chart: lines over time, under them what is told of each. The point that is looked at is chosen with the pointer or
// with the arrow keys, and read out to who cannot see it: the chart is a slider along time.

import 'uplot/dist/uPlot.min.css';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useEffect, useMemo, useRef, useState } from 'react';
import { useTranslation } from 'react-i18next';
import uPlot from 'uplot';
import { useFormat } from '../../parts/format';
import { useAppearance } from '../../shell/theme';
import { coloursOf, dataOf, hasShade, optionsOf, STROKES } from './options';
import { timeOf, told, type Course, type Line } from './series';

export interface ChartLine extends Line {
  /** Translated, or a name. */
  label: string;
}

interface Props {
  title: string;
  course: Course;
  lines: ChartLine[];
  most?: number;
}

const HEIGHT = 200;
const STEPS: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 };

export default function Chart({ title, course, lines, most }: Props) {
  const { t } = useTranslation();
  const format = useFormat();
  const appearance = useAppearance();
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot>(undefined);
  const latest = useRef({ course, lines });
  const [point, setPoint] = useState<number | null>(null);
  useEffect(() => {
    latest.current = { course, lines };
  });
  const unit = lines[0]?.unit ?? '';
  const drawn = lines.map(({ id, metric }) => `${id} ${metric}`).join();
  // Built anew when something else is drawn, or in other colours; new values only are put into it.
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const now = () => latest.current;
    const options = optionsOf({ width: element.clientWidth || 600, height: HEIGHT, unit, most, colours: coloursOf(element), format, now, point: setPoint });
    const made = new uPlot(options, dataOf(now().course, now().lines), element);
    chart.current = made;
    const watch = new ResizeObserver(() => element.clientWidth > 0 && made.setSize({ width: element.clientWidth, height: HEIGHT }));
    watch.observe(element);
    return () => {
      watch.disconnect();
      made.destroy();
      chart.current = undefined;
    };
  }, [drawn, unit, most, format, appearance]);
  const data = useMemo(() => dataOf(course, lines), [course, lines]);
  useEffect(() => chart.current?.setData(data), [data]);

  const last = course.points - 1;
  const at = point === null ? null : Math.min(point, last);
  const look = (to: number) => {
    const next = Math.max(0, Math.min(last, to));
    const left = chart.current?.valToPos(timeOf(course, next), 'x') ?? 0;
    chart.current?.setCursor({ left, top: 0 });
    setPoint(next);
  };
  const onKeyDown = (event: React.KeyboardEvent) => {
    const step = STEPS[event.key];
    const to = event.key === 'Home' ? 0 : event.key === 'End' ? last : step === undefined ? undefined : (at ?? last + (step < 0 ? 1 : 0)) + step;
    if (to === undefined) return;
    event.preventDefault();
    look(to);
  };
  const value = (line: Line, point: number | null) => {
    const found = point === null ? told(line).last : line.avg[point];
    return found == null ? '—' : format.measure(found, unit);
  };
  const when = at === null ? '' : format.tick(timeOf(course, at), course.step);
  const said = at === null ? t('nothing chosen') : `${format.date(new Date(timeOf(course, at) * 1000).toISOString())}: ${lines.map((line) => `${line.label} ${value(line, at)}`).join(', ')}`;
  return (
    <>
      <div
        ref={box}
        className="x-chart"
        role="slider"
        tabIndex={0}
        aria-label={t('{{title}} over time', { title })}
        aria-valuemin={0}
        aria-valuemax={Math.max(0, last)}
        aria-valuenow={at ?? Math.max(0, last)}
        aria-valuetext={said}
        onKeyDown={onKeyDown}
      />
      <Table variant="compact" borders={false} aria-label={title} className="x-legend" gridBreakPoint="">
        <Thead>
          <Tr>
            <Th screenReaderText={t('Line')} />
            <Th>{at === null ? t('Last') : <time>{when}</time>}</Th>
            <Th>{t('Average')}</Th>
            <Th>{t('Peak')}</Th>
          </Tr>
        </Thead>
        <Tbody>
          {lines.map((line, index) => {
            const { mean, most: greatest } = told(line);
            const shown = (value: number | null) => (value === null ? '—' : format.measure(value, unit));
            return (
              <Tr key={`${line.id} ${line.metric}`}>
                <Td>
                  <span className={`x-swatch x-swatch-${(index % STROKES) + 1}`} aria-hidden />
                  {line.label}
                </Td>
                <Td>{value(line, at)}</Td>
                <Td>{shown(mean)}</Td>
                <Td>{shown(greatest)}</Td>
              </Tr>
            );
          })}
        </Tbody>
      </Table>
      {lines.some(hasShade) && <p className="x-dim">{t('The shade reaches from the least to the greatest value of each point.')}</p>}
    </>
  );
}
