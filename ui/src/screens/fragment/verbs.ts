// What can be done with a fragment.

import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import type { Fragment, Template } from '../../api/generated';
import { msg } from '../../i18n/msg';
import type { Verb } from '../../parts/VerbMenu';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';

/** `named` by these templates, which it is not to be taken from. */
export function useFragmentVerbs() {
  const { t } = useTranslation();
  const user = useUser();
  const navigate = useNavigate();
  return (fragment: Fragment, named: Template[]): Verb[] => {
    const place = { pool: fragment.pool };
    return [
      { label: t('Change'), why: mayNot(user, 'fragment.update', place), go: () => void navigate(`/fragments/${fragment.id}`) },
      {
        label: t('Delete'),
        danger: true,
        why: mayNot(user, 'fragment.delete', place) ?? (named.length > 0 ? msg('Templates name it: take it out of those first.') : undefined),
        act: { method: 'fragment.delete', params: { fragment: fragment.id }, title: t('Delete the fragment {{name}}', { name: fragment.name }) },
        question: { text: t('Its text is lost. VMs that were made with it stay as they are.'), button: t('Delete'), typeName: fragment.name },
      },
    ];
  };
}
