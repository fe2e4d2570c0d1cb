// A network for each that a VM has, where it comes to another place.

import { FormGroup } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';
import { useRead } from '../api/client';
import type { Host } from '../api/generated';
import { useAll } from '../list/all';
import { ChoiceField, Help } from './fields';
import { NO_CARD, type NetworkChoices } from './networks';

/** Hosts to choose from, with their pool where there are several, and the networks of the one that is chosen. */
export function usePlaces(host: string) {
  const pools = useAll('pool.list', {});
  const hosts = useRead('host.list', { limit: 1000 });
  const networks = useAll('network.list', {});
  const poolName = (id: string) => pools.data?.find((pool) => pool.id === id)?.name ?? id.slice(0, 8);
  const several = (pools.data ?? []).length > 1;
  const inPool = ({ id, name, pool }: { id: string; name: string; pool: string }): [string, string] => [id, several ? `${name} (${poolName(pool)})` : name];
  const chosen: Host | undefined = hosts.data?.items.find(({ id }) => id === host);
  return {
    chosen,
    hosts: (hosts.data?.items ?? []).map(inPool),
    // Those of other hosts' pools cannot be meant; without a host all can.
    networks: (networks.data ?? []).filter((network) => !chosen || network.pool === chosen.pool).map(inPool),
    networkName: (id: string) => networks.data?.find((network) => network.id === id)?.name ?? id.slice(0, 8),
  };
}

interface Props {
  id: string;
  /** Networks of the VM. */
  had: string[];
  places: ReturnType<typeof usePlaces>;
  value: NetworkChoices;
  set(value: NetworkChoices): void;
}

export function NetworkMap({ id, had, places, value, set }: Props) {
  const { t } = useTranslation();
  if (had.length === 0) return null;
  return (
    <FormGroup role="group" label={t('Networks')}>
      {had.map((from) => (
        <ChoiceField
          key={from}
          id={`${id}-${from}`}
          label={t('In place of {{name}}', { name: places.networkName(from) })}
          value={value[from] ?? ''}
          set={(to) => set({ ...value, [from]: to })}
          options={[...places.networks, [NO_CARD, t('No network card')]]}
          none={t('The same')}
        />
      ))}
      <Help>{t('In another pool the same is the one of that name.')}</Help>
    </FormGroup>
  );
}
