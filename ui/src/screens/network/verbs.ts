// What can be done with a network.

import { useTranslation } from 'react-i18next';
import type { Network } from '../../api/generated';
import type { Verb } from '../../parts/VerbMenu';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';

export function useNetworkVerbs() {
  const { t } = useTranslation();
  const user = useUser();
  const encrypting = (network: Network): Verb => {
    const on = network.encryption !== 'wireguard';
    return {
      label: on ? t('Encrypt') : t('Encrypt no more'),
      why: mayNot(user, 'network.set_encryption', { pool: network.pool }),
      act: { method: 'network.set_encryption', params: { network: network.id, encryption: on ? 'wireguard' : 'none' }, title: on ? t('Encrypt the network {{name}}', { name: network.name }) : t('Encrypt the network {{name}} no more', { name: network.name }) },
      question: {
        text: on
          ? t('Hosts then send each other what its VMs say over WireGuard. Without an MTU of its own, packets of its VMs may have 1350 bytes at most.')
          : t('Who reads the network between the hosts then reads what its VMs say.'),
        button: on ? t('Encrypt') : t('Encrypt no more'),
      },
    };
  };
  return (network: Network, deleted?: () => void): Verb[] => [
    ...(network.uplink?.kind === 'private' ? [encrypting(network)] : []),
    {
      label: t('Delete'),
      danger: true,
      why: mayNot(user, 'network.delete', { pool: network.pool }),
      act: { method: 'network.delete', params: { network: network.id }, title: t('Delete the network {{name}}', { name: network.name }) },
      question: { text: t('Only a network that no VM uses can be deleted. Hosts take away what they made for it; other bridges stay.'), button: t('Delete'), typeName: network.name, done: deleted },
    },
  ];
}
