// Nobody is told for a while: of one alarm, of a rule, or of one VM or host.

import { FormGroup, Radio } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { Alarm, AlarmRule, SilenceAlarms } from '../../api/generated';
import { ChoiceField, TextField } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';
import { useFormat } from '../../parts/format';

const HOUR = 3600;
const TIMES = [HOUR, 4 * HOUR, 24 * HOUR, 7 * 24 * HOUR, 30 * 24 * HOUR];
const LONGEST_COMMENT = 500;

type About = 'both' | 'rule' | 'object';

interface Props {
  alarm?: Alarm;
  /** A rule, as a whole. */
  rule?: AlarmRule;
  close(): void;
}

/** What is asked of the API. */
export function silenceOf({ alarm, rule }: Pick<Props, 'alarm' | 'rule'>, about: About, seconds: number, comment: string): SilenceAlarms {
  const ofRule = rule?.id ?? (about === 'object' ? undefined : (alarm?.rule ?? undefined));
  const object = alarm && about !== 'rule' && alarm.of !== 'orchestrator' ? { of: alarm.of, object: alarm.id } : {};
  return { ...(ofRule ? { rule: ofRule } : {}), ...object, seconds, ...(comment ? { comment } : {}) };
}

export function Silence({ alarm, rule, close }: Props) {
  const { t } = useTranslation();
  const format = useFormat();
  // One that is by no rule is silenced with all others of its VM.
  const ruled = !alarm || Boolean(alarm.rule);
  const [about, setAbout] = useState<About>(ruled ? 'both' : 'object');
  const [seconds, setSeconds] = useState(String(HOUR));
  const [comment, setComment] = useState('');
  const named = { name: alarm?.name ?? '', rule: alarm?.rule_name ?? rule?.name ?? '' };
  const ways: [About, string][] = [
    ...(ruled
      ? ([
          ['both', t('This alarm: {{rule}} of {{name}}', named)],
          ['rule', t('Every alarm of the rule {{rule}}', named)],
        ] as [About, string][])
      : []),
    ['object', t('Every alarm of {{name}}', named)],
  ];
  return (
    <FormDialog
      act={{ method: 'alarm.silence', params: silenceOf({ alarm, rule }, about, Number(seconds), comment), title: t('Silence {{what}}', { what: alarm ? named.name : named.rule }) }}
      button={t('Silence')}
      ready={comment.length <= LONGEST_COMMENT}
      close={close}
      about={t('They are raised and listed all the same. What is still wrong when the silence ends is told then.')}
    >
      {alarm && (
        <FormGroup role="radiogroup" fieldId="silence-about" label={t('What')}>
          {ways.map(([way, label]) => (
            <Radio key={way} id={`silence-${way}`} name="silence-about" label={label} isChecked={about === way} onChange={() => setAbout(way)} />
          ))}
        </FormGroup>
      )}
      <ChoiceField id="silence-seconds" label={t('For how long')} value={seconds} set={setSeconds} options={TIMES.map((time) => [String(time), format.duration(time)])} />
      <TextField id="silence-comment" label={t('Why')} value={comment} set={setComment} placeholder={t('load test')} wrong={comment.length > LONGEST_COMMENT ? t('{{count}} characters at most.', { count: LONGEST_COMMENT }) : undefined} />
    </FormDialog>
  );
}
