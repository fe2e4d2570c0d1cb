// Silences that run, and an end to them.

import MutedIcon from '@patternfly/react-icons/dist/esm/icons/bell-slash-icon';
import { useMemo } from 'react';
import { useTranslation } from 'react-i18next';
import { useRead } from '../../api/client';
import type { AlarmSilence } from '../../api/generated';
import { msg } from '../../i18n/msg';
import type { Column } from '../../list/columns';
import { ListView } from '../../list/ListView';
import { useBulk } from '../../list/useBulk';
import { useWhole } from '../../list/whole';
import { Ago } from '../../parts/Ago';
import { Nothing } from '../../parts/feedback';
import { useNames, useVmNames } from '../../parts/names';
import { Subject } from '../../parts/Subject';
import { VerbMenu, type Verb } from '../../parts/VerbMenu';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';

export function Silences() {
  const { t } = useTranslation();
  const user = useUser();
  const why = mayNot(user, 'alarm.silences');
  const read = useRead('alarm.silences', {}, { every: 15_000, enabled: !why });
  const rules = useRead('alarm_rule.list', {}, { enabled: !why });
  const names = useNames();
  const vmName = useVmNames(useMemo(() => (read.data ?? []).flatMap(({ subject }) => (subject?.startsWith('vm/') ? [subject.slice(3)] : [])), [read.data]));
  const columns = useMemo((): Column<AlarmSilence>[] => {
    const rule = (silence: AlarmSilence) => (silence.rule ? (rules.data?.find(({ id }) => id === silence.rule)?.name ?? silence.rule.slice(0, 8)) : t('any'));
    const about = ({ subject }: AlarmSilence) => {
      const [noun, id = ''] = (subject ?? '').split('/');
      return noun === 'vm' ? (vmName(id) ?? id.slice(0, 8)) : noun === 'host' ? names.host(id) : t('any');
    };
    return [
      { key: 'rule', header: msg('Rule'), cell: rule, text: rule },
      { key: 'about', header: msg('About'), cell: (silence) => (silence.subject ? <Subject subject={silence.subject}>{about(silence)}</Subject> : about(silence)), text: about },
      { key: 'until', header: msg('Ends'), width: 10, cell: (silence) => <Ago at={silence.until} />, text: (silence) => silence.until },
      { key: 'comment', header: msg('Why'), wide: true, cell: (silence) => silence.comment || '—', text: (silence) => silence.comment },
      { key: 'user', header: msg('By'), width: 9, wide: true, cell: (silence) => silence.user, text: (silence) => silence.user },
    ];
  }, [rules.data, names, vmName, t]);
  const pages = useWhole(read, '', (silence) => silence.id);
  const shown = (silence: AlarmSilence) => columns.slice(0, 2).map((column) => column.text(silence)).join(', ');
  const verbs = (silence: AlarmSilence): Verb[] => [{ label: t('End'), act: { method: 'alarm.unsilence', params: { silence: silence.id }, title: t('End the silence of {{name}}', { name: shown(silence) }) } }];
  const bulk = useBulk({ rows: pages.rows, id: (silence) => silence.id, name: shown, verbs });
  if (why) return <Nothing title={t('You cannot see silences')}>{t(why)}</Nothing>;
  return (
    <>
      <ListView
        title={t('Silences')}
        heading="h2"
        noun="silences"
        columns={columns}
        pages={pages}
        id={(silence) => silence.id}
        name={shown}
        {...bulk.list}
        actions={(silence) => <VerbMenu name={shown(silence)} verbs={verbs(silence)} />}
        menu
        empty={
          <Nothing icon={MutedIcon} title={t('Nothing is silenced')}>
            {t('An alarm is silenced from its row, a rule from its own.')}
          </Nothing>
        }
      />
      {bulk.dialog}
    </>
  );
}
