// Where something new is restored to: a host and with it a pool, an SR, and a network for each that the VM had.

import { useTranslation } from 'react-i18next';
import type { Backup } from '../../api/generated';
import { ChoiceField, useSrOptions } from '../../parts/fields';
import { NetworkMap, usePlaces } from '../../parts/NetworkMap';
import type { RestoreDraft } from './restore';

export interface PlaceProps {
  backup: Backup;
  draft: RestoreDraft;
  set(part: Partial<RestoreDraft>): void;
}

export function Place({ backup, draft, set }: PlaceProps) {
  const { t } = useTranslation();
  const places = usePlaces(draft.host);
  const srs = useSrOptions(draft.host);
  return (
    <>
      <ChoiceField id="restore-host" label={t('Host')} value={draft.host} set={(host) => set({ host, sr: '', networks: {} })} options={places.hosts} none={t('Where the VM was, or the best one')} />
      {places.chosen && <ChoiceField id="restore-sr" label={t('Storage')} value={draft.sr} set={(sr) => set({ sr })} options={srs} none={t('The host’s own')} />}
      {draft.as === 'new_vm' && <NetworkMap id="restore-network" had={backup.networks ?? []} places={places} value={draft.networks} set={(networks) => set({ networks })} />}
    </>
  );
}
