// What can be done with a network.

import { useTranslation } from 'react-i18next';
import type { Network } from '../../api/generated';
import type { Verb } from '../../parts/VerbMenu';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';

export function useNetworkVerbs() {
  const { t } = useTranslation();
  const user = useUser();
  return (network: Network, deleted?: () => void): Verb[] => [
    {
      label: t('Delete'),
      danger: true,
      why: mayNot(user, 'network.delete', { pool: network.pool }),
      act: { method: 'network.delete', params: { network: network.id }, title: t('Delete the network {{name}}', { name: network.name }) },
      question: { text: t('Only a network that no VM uses can be deleted. Hosts take away what they made for it; other bridges stay.'), button: t('Delete'), done: deleted },
    },
  ];
}
