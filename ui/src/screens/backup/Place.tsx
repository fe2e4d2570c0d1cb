// Where something new is restored to: a host and with it a pool, an SR, and a network for each that the VM had.

import { FormGroup } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';
import { useRead } from '../../api/client';
import type { Backup } from '../../api/generated';
import { useAll } from '../../list/all';
import { ChoiceField, Help, useSrOptions } from '../../parts/fields';
import { NO_CARD, type RestoreDraft } from './restore';

export interface PlaceProps {
  backup: Backup;
  draft: RestoreDraft;
  set(part: Partial<RestoreDraft>): void;
}

export function Place({ backup, draft, set }: PlaceProps) {
  const { t } = useTranslation();
  const pools = useAll('pool.list', {});
  const hosts = useRead('host.list', { limit: 1000 });
  const networks = useAll('network.list', {});
  const poolName = (id: string) => pools.data?.find((pool) => pool.id === id)?.name ?? id.slice(0, 8);
  const srs = useSrOptions(draft.host);
  const host = hosts.data?.items.find(({ id }) => id === draft.host);
  const several = (pools.data ?? []).length > 1;
  const inPool = (name: string, pool: string) => (several ? `${name} (${poolName(pool)})` : name);
  // Those of other hosts' pools cannot be meant; without a host all can.
  const ofPool = (networks.data ?? []).filter((network) => !host || network.pool === host.pool);
  const had = backup.networks ?? [];
  const name = (id: string) => networks.data?.find((network) => network.id === id)?.name ?? id.slice(0, 8);
  return (
    <>
      <ChoiceField
        id="restore-host"
        label={t('Host')}
        value={draft.host}
        set={(host) => set({ host, sr: '', networks: {} })}
        options={(hosts.data?.items ?? []).map(({ id, name, pool }) => [id, inPool(name, pool)])}
        none={t('Where the VM was, or the best one')}
      />
      {host && (
        <ChoiceField
          id="restore-sr"
          label={t('Storage')}
          value={draft.sr}
          set={(sr) => set({ sr })}
          options={srs}
          none={t('The host’s own')}
        />
      )}
      {draft.as === 'new_vm' && had.length > 0 && (
        <FormGroup role="group" label={t('Networks')}>
          {had.map((id) => (
            <ChoiceField
              key={id}
              id={`restore-network-${id}`}
              label={t('In place of {{name}}', { name: name(id) })}
              value={draft.networks[id] ?? ''}
              set={(to) => set({ networks: { ...draft.networks, [id]: to } })}
              options={[...ofPool.map((network): [string, string] => [network.id, inPool(network.name, network.pool)]), [NO_CARD, t('No network card')]]}
              none={t('The same')}
            />
          ))}
          <Help>{t('In another pool the same is the one of that name.')}</Help>
        </FormGroup>
      )}
    </>
  );
}
