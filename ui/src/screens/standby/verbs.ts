// What can be done with a standby. What loses something asks for its name.

import { useTranslation } from 'react-i18next';
import type { MethodName, Standby } from '../../api/generated';
import { msg } from '../../i18n/msg';
import { useFormat } from '../../parts/format';
import type { Verb } from '../../parts/VerbMenu';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { lost } from './words';

const BUSY = msg('A task works on it: wait for its end.');
const HOLDS_NOTHING = msg('It holds no whole backup: let it follow first.');
const GONE = msg('The VM that it stands by for was deleted: only a fail-over is left.');

export function useStandbyVerbs() {
  const { t } = useTranslation();
  const user = useUser();
  const format = useFormat();
  return (standby: Standby, forms: { failBack(): void; gone?(): void }): Verb[] => {
    const params = { standby: standby.vm };
    const names = { name: standby.name, of: standby.of_name ?? t('a deleted VM') };
    const may = (method: MethodName) => mayNot(user, method) ?? (standby.status === 'busy' ? BUSY : undefined);
    const seconds = lost(standby);
    const loss = seconds === undefined ? '—' : format.duration(seconds);
    return [
      {
        label: t('Follow now'),
        why: may('standby.follow'),
        note: standby.automatic ? t('Brings it to the newest backup. It does so by itself, too.') : t('Ends what it was, and brings it to the newest backup.'),
        danger: !standby.automatic,
        act: { method: 'standby.follow', params, title: t('Bring {{name}} to the newest backup', names) },
        // It fell: what it wrote is on its disks alone.
        question: standby.automatic ? undefined : { text: t('{{of}} took over from {{name}}. What {{name}} wrote since its last backup is lost now: it becomes what {{of}} was when that was backed up last.', names), button: t('Follow'), typeName: standby.name },
      },
      {
        label: t('Prove what it holds'),
        why: mayNot(user, 'backup.prove') ?? (standby.backup ? undefined : HOLDS_NOTHING),
        note: t('Its backup is restored for a moment, apart from every network, to see whether it boots. The standby stays as it is.'),
        act: { method: 'backup.prove', params: { backup: standby.backup ?? '', repository: standby.repository }, title: t('Prove what {{name}} holds', names) },
      },
      { label: t('Fail back'), why: may('standby.fail_back') ?? (standby.of_name ? undefined : GONE), go: forms.failBack, note: t('Nothing is lost: {{of}} is shut down and backed up first. Also a planned move.', names) },
      {
        label: t('Fail over'),
        danger: true,
        why: may('standby.fail_over') ?? (standby.backup ? undefined : HOLDS_NOTHING),
        note: t('Starts it as {{of}} was {{loss}} ago.', { ...names, loss }),
        act: { method: 'standby.fail_over', params, title: t('Fail over to {{name}}', names) },
        question: {
          text: t('{{name}} starts with what {{of}} was {{loss}} ago. What {{of}} wrote since is not in it. {{of}} stands by from then on.', { ...names, loss }),
          button: t('Fail over'),
          typeName: standby.name,
          choices: [{ field: 'force', label: t('Also while {{of}} runs, or nobody knows whether it does', names) }],
        },
      },
      {
        label: t('Release'),
        why: may('standby.release'),
        note: t('It becomes a VM like any other and follows no more.'),
        act: { method: 'standby.release', params, title: t('Release {{name}}', names) },
        question: { text: t('{{name}} becomes a VM like any other: it can be started beside {{of}}, and follows no more backups.', names), button: t('Release'), done: forms.gone },
      },
      {
        label: t('Delete'),
        danger: true,
        why: may('standby.delete'),
        act: { method: 'standby.delete', params, title: t('Delete the standby {{name}}', names) },
        question: { text: t('{{name}} and its disks are deleted. Nobody stands by for {{of}} any more, unless another does.', names), button: t('Delete'), typeName: standby.name, done: forms.gone },
      },
    ];
  };
}
