// What can be done with a user.

import { useTranslation } from 'react-i18next';
import type { User } from '../../api/generated';
import { msg } from '../../i18n/msg';
import type { Verb } from '../../parts/VerbMenu';
import { useUser } from '../../shell/user';

/** `edit` opens the form; `gone` is where to go when the user is deleted. */
export function useUserVerbs() {
  const { t } = useTranslation();
  const me = useUser();
  return (user: User, edit: () => void, gone?: () => void): Verb[] => [
    { label: t('Change password and roles'), go: edit },
    {
      label: t('Turn two-factor sign-in off'),
      why: user.id === me.id ? msg('Turn off your own on the page “My account”.') : user.totp ? undefined : msg('It is off.'),
      act: { method: 'user.totp_reset', params: { user: user.id }, title: t('Turn the two-factor sign-in of {{name}} off', { name: user.name }) },
      question: { text: t('The password alone signs in then. Make sure that it is the user who asks: whoever has the password would like it, too.'), button: t('Turn off') },
    },
    {
      label: t('Delete'),
      danger: true,
      why: user.id === me.id ? msg('You cannot delete yourself.') : undefined,
      act: { method: 'user.delete', params: { user: user.id }, title: t('Delete the user {{name}}', { name: user.name }) },
      question: { text: t('The user’s sessions end and tokens stop working at once.'), button: t('Delete'), typeName: user.name, done: gone },
    },
  ];
}
