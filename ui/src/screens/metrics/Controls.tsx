// Which stretch of time, and as what: all of it stands in the address.

import { Button, ToggleGroup, ToggleGroupItem } from '@patternfly/react-core';
import BackIcon from '@patternfly/react-icons/dist/esm/icons/angle-left-icon';
import OnIcon from '@patternfly/react-icons/dist/esm/icons/angle-right-icon';
import { useTranslation } from 'react-i18next';
import { useFormat } from '../../parts/format';
import { useUrlState } from '../../parts/url';
import { moved, rangeOf, RANGES, stampOf, untilOf, type Range } from './ranges';
import { endOf, type Course } from './series';

export interface Stretch {
  range: Range;
  /** Seconds since 1970; until now, where there is none. */
  until: number | undefined;
}

export function useStretch(): Stretch & { setRange(key: string): void; setUntil(until: number | undefined): void } {
  const [range, setRange] = useUrlState('range');
  const [until, setUntil] = useUrlState('until');
  return {
    range: rangeOf(range),
    until: untilOf(until),
    setRange: (key) => setRange(key === RANGES[0]?.key ? null : key),
    setUntil: (seconds) => setUntil(seconds === undefined ? null : stampOf(seconds)),
  };
}

export function Controls({ course, children }: { course?: Course; children?: React.ReactNode }) {
  const { t } = useTranslation();
  const format = useFormat();
  const { range, until, setRange, setUntil } = useStretch();
  const go = (by: -1 | 1) => setUntil(moved(range, until, Math.floor(Date.now() / 1000), by));
  const date = (seconds: number) => format.stamp(new Date(seconds * 1000).toISOString());
  return (
    <div className="x-head">
      <div className="x-labels">
        <ToggleGroup isCompact aria-label={t('How long')}>
          {RANGES.map(({ key, label }) => (
            <ToggleGroupItem key={key} text={t(label)} buttonId={`range-${key}`} isSelected={range.key === key} onChange={() => setRange(key)} />
          ))}
        </ToggleGroup>
        <Button variant="plain" icon={<BackIcon />} aria-label={t('Earlier')} onClick={() => go(-1)} />
        <Button variant="plain" icon={<OnIcon />} aria-label={t('Later')} isDisabled={until === undefined} onClick={() => go(1)} />
        {until !== undefined && (
          <Button variant="link" isInline onClick={() => setUntil(undefined)}>
            {t('Until now')}
          </Button>
        )}
        {course && course.points > 0 && (
          <span className="x-dim" role="status">
            {t('{{from}} to {{to}}, a value each {{step}}', { from: date(course.from), to: date(Math.min(endOf(course), until ?? Infinity, Math.ceil(Date.now() / 1000))), step: format.duration(course.step) })}
          </span>
        )}
      </div>
      {children && <div className="x-head-actions">{children}</div>}
    </div>
  );
}
