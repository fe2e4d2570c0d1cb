// What can be done with an SR.

import { useTranslation } from 'react-i18next';
import type { Sr } from '../../api/generated';
import { msg } from '../../i18n/msg';
import type { Verb } from '../../parts/VerbMenu';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';

const OWN = msg('It is its host’s own and goes with it.');

export function useSrVerbs() {
  const { t } = useTranslation();
  const user = useUser();
  return (sr: Sr, forms: { attach(): void; scan?(): void; forgotten?(): void }): Verb[] => {
    const why = mayNot(user, 'sr.attach', { pool: sr.pool }) ?? (sr.spec ? undefined : OWN);
    const oneHost = sr.spec && sr.spec.kind !== 'nfs' && sr.hosts.length > 0 ? msg('It is on disks of one host; only shared storage has several.') : undefined;
    return [
      ...(forms.scan ? [{ label: t('Look through it'), go: forms.scan, note: t('Finds disks that nobody knows, and known ones that are missing.'), why: sr.hosts.length === 0 ? msg('No host has it attached.') : undefined }] : []),
      { label: t('Attach to a host'), go: forms.attach, why: why ?? oneHost },
      {
        label: t('Forget'),
        danger: true,
        why: why ?? (sr.hosts.length > 0 ? msg('Detach it from every host first.') : undefined),
        act: { method: 'sr.forget', params: { sr: sr.id }, title: t('Forget the storage {{name}}', { name: sr.name }) },
        question: {
          text: t('What is on it stays; it can be attached again. Its {{count}} disks are no longer known here.', { count: sr.vdis }),
          button: t('Forget'),
          typeName: sr.name,
          done: forms.forgotten,
        },
      },
    ];
  };
}
