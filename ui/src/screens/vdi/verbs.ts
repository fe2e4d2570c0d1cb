// What can be done with a disk.

import { useTranslation } from 'react-i18next';
import type { Vdi } from '../../api/generated';
import { msg } from '../../i18n/msg';
import { useAll } from '../../list/all';
import { useActs } from '../../parts/acts';
import type { Verb } from '../../parts/VerbMenu';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { keepsLeases } from '../sr/words';

export function useVdiCannot() {
  const user = useUser();
  const srs = useAll('sr.list', {});
  return {
    change: () => mayNot(user, 'vdi.create'),
    lease: (vdi: Pick<Vdi, 'sr'>) => {
      const sr = srs.data?.find(({ id }) => id === vdi.sr);
      return !sr || keepsLeases(sr) ? undefined : msg('Its storage is one host’s: no other writes it.');
    },
    delete: (vdi: Vdi) => mayNot(user, 'vdi.delete') ?? (vdi.attached_to ? msg('A VM has it: detach it there first.') : undefined),
  };
}

export function useVdiVerbs() {
  const { t } = useTranslation();
  const cannot = useVdiCannot();
  const user = useUser();
  const { copy } = useActs();
  return (vdi: Vdi, forms: { resize(): void; clone(): void; copy(): void; move(): void; lease(): void }): Verb[] => [
    { label: t('Make larger'), go: forms.resize, why: cannot.change() },
    { label: t('Copy'), go: forms.clone, why: cannot.change(), note: vdi.attached_to ? t('Not while its VM runs.') : undefined },
    { label: t('Copy to another place'), go: forms.copy, why: cannot.change() },
    { label: t('Move'), go: forms.move, why: cannot.change(), note: vdi.attached_to ? t('Not while its VM runs.') : undefined },
    { label: t('Who may write it'), go: forms.lease, why: cannot.lease(vdi), note: t('Which host has the lease, and breaking it.') },
    { label: t('Fetch …'), go: () => copy({ method: 'vdi.export', params: { vdi: vdi.id }, title: t('Fetch {{name}}', { name: vdi.name }) }), why: mayNot(user, 'vdi.export'), note: t('As a file of your computer. The host hands it out itself: what fetches it is shown as a command.') },
    {
      label: t('Delete'),
      danger: true,
      why: cannot.delete(vdi),
      act: { method: 'vdi.delete', params: { vdi: vdi.id }, title: t('Delete the disk {{name}}', { name: vdi.name }) },
      question: { text: t('All that is on it is lost.'), button: t('Delete'), typeName: vdi.name },
    },
  ];
}
