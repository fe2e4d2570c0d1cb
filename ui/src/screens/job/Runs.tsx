// All runs and their proofs, as a table or by the days of a month.

import { Button, Content, PageSection, Title, ToggleGroup, ToggleGroupItem, ToolbarItem } from '@patternfly/react-core';
import BackIcon from '@patternfly/react-icons/dist/esm/icons/angle-left-icon';
import OnIcon from '@patternfly/react-icons/dist/esm/icons/angle-right-icon';
import { useMemo } from 'react';
import { useTranslation } from 'react-i18next';
import { refresh } from '../../api/client';
import { FALLBACK_MS } from '../../live/again';
import { Failed, Loading } from '../../parts/feedback';
import { useUrlState } from '../../parts/url';
import { DayCell } from './DayCell';
import { month, within } from './month';
import { RunList } from './RunList';
import { useAll } from '../../list/all';

export default function Runs() {
  const { t } = useTranslation();
  const [look, setLook] = useUrlState('look');
  const toggle = (
    <ToggleGroup isCompact aria-label={t('Shown as')}>
      <ToggleGroupItem text={t('Table')} buttonId="runs-table" isSelected={look !== 'calendar'} onChange={() => setLook(null)} />
      <ToggleGroupItem text={t('Calendar')} buttonId="runs-calendar" isSelected={look === 'calendar'} onChange={() => setLook('calendar')} />
    </ToggleGroup>
  );
  return look === 'calendar' ? <Calendar toggle={toggle} /> : <RunList extra={<ToolbarItem>{toggle}</ToolbarItem>} />;
}

function Calendar({ toggle }: { toggle: React.ReactNode }) {
  const { t, i18n } = useTranslation();
  const [shown, setShown] = useUrlState('month');
  const jobs = useAll('backup_job.list', {}, { every: FALLBACK_MS });
  const now = new Date();
  const [year = now.getFullYear(), number = now.getMonth() + 1] = (shown ?? '').split('-').filter(Boolean).map(Number);
  const days = useMemo(() => month(year, number), [year, number]);
  const runs = useAll('backup_run.list', { filter: within(days) }, { every: FALLBACK_MS });
  if (!runs.data || !jobs.data) {
    const error = runs.error ?? jobs.error;
    return error ? <Failed error={error} retry={() => refresh('backup_run', 'backup_job')} /> : <Loading />;
  }
  const language = i18n.language === 'pseudo' ? 'en' : i18n.language;
  const title = new Intl.DateTimeFormat(language, { month: 'long', year: 'numeric' }).format(new Date(year, number - 1, 1));
  const weekday = new Intl.DateTimeFormat(language, { weekday: 'short' });
  const go = (by: number) => {
    const to = new Date(year, number - 1 + by, 1);
    setShown(`${to.getFullYear()}-${to.getMonth() + 1}`);
  };
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <div className="x-head">
        <div>
          <Title headingLevel="h1" size="2xl">
            {t('Backup runs')}
          </Title>
          <Content component="p" className="x-dim">
            {t('What ran, what was proved, and what each job does next.')}
          </Content>
        </div>
        {toggle}
      </div>
      <div className="x-labels">
        <Button variant="plain" icon={<BackIcon />} aria-label={t('The month before')} onClick={() => go(-1)} />
        <Title headingLevel="h2" size="lg">
          {title}
        </Title>
        <Button variant="plain" icon={<OnIcon />} aria-label={t('The month after')} onClick={() => go(1)} />
      </div>
      <div className="x-calendar" role="table" aria-label={title}>
        <div role="row" className="x-week">
          {days.slice(0, 7).map(({ date }) => (
            <div key={date.getTime()} role="columnheader" className="x-dim">
              {weekday.format(date)}
            </div>
          ))}
        </div>
        {Array.from({ length: days.length / 7 }, (_, week) => (
          <div key={week} role="row" className="x-week">
            {days.slice(week * 7, week * 7 + 7).map((day) => (
              <DayCell key={day.key} day={day} runs={runs.data} jobs={jobs.data} />
            ))}
          </div>
        ))}
      </div>
    </PageSection>
  );
}
