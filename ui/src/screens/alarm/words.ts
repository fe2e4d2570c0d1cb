// Alarms in words, and where what they are about is looked at.

import { useCallback } from 'react';
import { useTranslation } from 'react-i18next';
import type { Alarm, AlarmRule, Metric, Unit } from '../../api/generated';
import { useRead } from '../../api/client';
import { useFormat } from '../../parts/format';
import { METRIC } from '../metrics/groups';

export const idOf = (alarm: Alarm): string => `${alarm.rule ?? alarm.rule_name} ${alarm.of}/${alarm.id}`;

/** The page that shows more of it, where there is one. */
export function pageOf({ of, id }: Pick<Alarm, 'of' | 'id'>): string | undefined {
  return of === 'vm' ? `/vms/${id}/metrics` : of === 'host' ? `/hosts/${id}?tab=metrics` : undefined;
}

const UNITS: Record<Metric, Unit> = {
  cpu: '%',
  memory: 'B',
  load: '',
  'dom0.cpu': '%',
  'dom0.memory': 'B',
  'disk.read': 'B/s',
  'disk.write': 'B/s',
  'disk.read_ops': '/s',
  'disk.write_ops': '/s',
  'disk.queue_full': '/s',
  'net.received': 'B/s',
  'net.sent': 'B/s',
  'net.received_packets': '/s',
  'net.sent_packets': '/s',
  'net.dropped': '/s',
  power: 'W',
};

/** The API's own word on the unit of each metric; what it was when this was built until that is there. */
export function useUnits(): (metric: Metric) => Unit {
  const { data } = useRead('metrics.list', {});
  return useCallback((metric) => data?.find((info) => info.metric === metric)?.unit ?? UNITS[metric], [data]);
}

/** What is wrong: “CPU is 97%, the threshold is 90%”. */
export function useWrong(): (alarm: Alarm) => string {
  const { t } = useTranslation();
  const format = useFormat();
  const unit = useUnits();
  return useCallback(
    ({ metric, value, threshold, message, rule_name }) => {
      if (message) return message;
      if (!metric) return rule_name;
      const shown = (value?: number | null) => (value == null ? '—' : format.measure(value, unit(metric)));
      return t('{{metric}} is {{value}}, the threshold is {{threshold}}', { metric: t(METRIC[metric]), value: shown(value), threshold: shown(threshold) });
    },
    [t, format, unit],
  );
}

/** What a rule says: “CPU above 90% for 10m 0s”. */
export function useRuleWords(): (rule: Pick<AlarmRule, 'metric' | 'when' | 'threshold' | 'for_s'>) => string {
  const { t } = useTranslation();
  const format = useFormat();
  const unit = useUnits();
  return useCallback(
    ({ metric, when, threshold, for_s }) => {
      const words = { metric: t(METRIC[metric]), threshold: format.measure(threshold, unit(metric)), time: format.duration(for_s) };
      if (for_s > 0) return when === 'above' ? t('{{metric}} above {{threshold}} for {{time}}', words) : t('{{metric}} below {{threshold}} for {{time}}', words);
      return when === 'above' ? t('{{metric}} above {{threshold}}', words) : t('{{metric}} below {{threshold}}', words);
    },
    [t, format, unit],
  );
}
