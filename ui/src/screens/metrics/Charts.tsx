// The charts of one VM or host, a group of metrics in each. What was not measured has no chart and is named.

import { Card, CardBody, CardTitle } from '@patternfly/react-core';
import { lazy, Suspense } from 'react';
import { useTranslation } from 'react-i18next';
import type { Measured } from '../../api/generated';
import { Loading } from '../../parts/feedback';
import { GROUPS, METRIC, MOST, type Group } from './groups';
import type { Course } from './series';

// uPlot comes when there is something to draw.
const Chart = lazy(() => import('./Chart'));

function linesOf(group: Group, course: Course, t: (text: string) => string) {
  const ordered = group.metrics.flatMap((metric) => course.lines.filter((line) => line.metric === metric));
  return ordered.map((line) => ({ ...line, label: [line.device, t(METRIC[line.metric])].filter(Boolean).join(': ') }));
}

export function Charts({ of, course }: { of: Measured; course: Course }) {
  const { t } = useTranslation();
  const groups = GROUPS.filter((group) => group.of.includes(of));
  const there = (group: Group) => group.metrics.some((metric) => course.lines.some((line) => line.metric === metric));
  // Where each disk and NIC is shown, nothing else was asked for.
  const missing = course.lines.some(({ device }) => device) ? [] : groups.filter((group) => !there(group));
  return (
    <>
      <div className="x-charts">
        {groups.filter(there).map((group) => (
          <Card isCompact key={group.key}>
            <CardTitle component="h2">{t(group.title)}</CardTitle>
            <CardBody>
              <Suspense fallback={<Loading lines={4} />}>
                <Chart title={t(group.title)} course={course} lines={linesOf(group, course, t)} most={group.metrics.length === 1 && group.metrics[0] ? MOST[group.metrics[0]] : undefined} />
              </Suspense>
              {group.note && <p className="x-dim">{t(group.note)}</p>}
            </CardBody>
          </Card>
        ))}
      </div>
      {missing.length > 0 && <p className="x-dim">{t('Not measured in this time: {{what}}.', { what: missing.map(({ title }) => t(title)).join(', ') })}</p>}
    </>
  );
}
