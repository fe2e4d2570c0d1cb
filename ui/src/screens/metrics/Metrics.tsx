// What one VM or host used: charts, or the same as a table.

import { ToggleGroup, ToggleGroupItem } from '@patternfly/react-core';
import MetricsIcon from '@patternfly/react-icons/dist/esm/icons/chart-line-icon';
import { useMemo } from 'react';
import { useTranslation } from 'react-i18next';
import type { Measured } from '../../api/generated';
import { ErrorBox, Failed, Loading, Nothing } from '../../parts/feedback';
import { useUrlState } from '../../parts/url';
import { Charts } from './Charts';
import { Controls, useStretch } from './Controls';
import { useCourse } from './useCourse';
import { Values } from './Values';

export function Metrics({ of, id, name }: { of: Measured; id: string; name: string }) {
  const { t } = useTranslation();
  const { range, until } = useStretch();
  const [look, setLook] = useUrlState('look');
  const [each, setEach] = useUrlState('each');
  const wanted = useMemo(() => ({ of, object: id, ...(each && of === 'vm' ? { per_device: true } : {}) }), [of, id, each]);
  const read = useCourse(wanted, range, until);
  const course = read.data;
  const body = () => {
    if (read.isPending) return <Loading />;
    if (!course) return <Failed error={read.error} retry={() => void read.refetch()} />;
    if (course.lines.length === 0) {
      return (
        <div className="x-none">
          <Nothing icon={MetricsIcon} title={t('Nothing was measured')}>
            {of === 'vm' ? t('A VM that is off has no values, and a new one none of before.') : t('A host that is not heard has no values, and a new one none of before.')}
          </Nothing>
        </div>
      );
    }
    return look === 'table' ? <Values course={course} name={name} /> : <Charts of={of} course={course} />;
  };
  return (
    <div className="x-metrics">
      <Controls course={course}>
        {of === 'vm' && (
          <ToggleGroup isCompact aria-label={t('Of what')}>
            <ToggleGroupItem text={t('The whole VM')} buttonId="metrics-whole" isSelected={!each} onChange={() => setEach(null)} />
            <ToggleGroupItem text={t('Each disk and NIC')} buttonId="metrics-each" isSelected={Boolean(each)} onChange={() => setEach('device')} />
          </ToggleGroup>
        )}
        <ToggleGroup isCompact aria-label={t('Shown as')}>
          <ToggleGroupItem text={t('Charts')} buttonId="metrics-charts" isSelected={look !== 'table'} onChange={() => setLook(null)} />
          <ToggleGroupItem text={t('Table')} buttonId="metrics-table" isSelected={look === 'table'} onChange={() => setLook('table')} />
        </ToggleGroup>
      </Controls>
      {read.isError && course && <ErrorBox error={read.error} title={t('The newest values are missing')} retry={() => void read.refetch()} />}
      {body()}
    </div>
  );
}
