// What may pass a NIC: which addresses are its own, how much, and whether anything at all. It is kept with the VM and not
// in its definition, and takes effect at once.

import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { NicChange, NicSettings, VifLock, VifSettings, Vm } from '../../api/generated';
import { msg } from '../../i18n/msg';
import { ChoiceField, NumberField, TextField, words } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';

const LOCK: Record<VifLock, string> = {
  open: msg('Any address'),
  mac: msg('Its MAC address only'),
  addresses: msg('Its MAC address and the addresses below only'),
};

const ADDRESS = /^(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]*:[0-9a-fA-F:.]+)$/;

type Translate = (text: string, values?: Record<string, unknown>) => string;

/** In a table's cell: only what is not usual. */
export function nicWords(nic: NicSettings | undefined, t: Translate): string {
  if (!nic) return '—';
  const { lock, addresses, link, rate_mbit: rate } = nic.settings;
  const said = [
    link === 'down' && t('nothing: its link is down'),
    lock === 'mac' && t('from its MAC address'),
    lock === 'addresses' && t('from {{addresses}}', { addresses: addresses?.join(', ') || '—' }),
    rate && t('at most {{rate}} Mbit/s', { rate }),
    nic.security_groups.length > 0 && t('by {{groups}}', { groups: nic.security_groups.join(', ') }),
  ].filter(Boolean);
  return said.join('; ') || t('everything');
}

export interface NicDraft {
  lock: VifLock;
  addresses: string;
  down: boolean;
  rate: number;
}

export const fromNic = ({ lock = 'open', addresses = [], link = 'up', rate_mbit }: VifSettings): NicDraft => ({ lock, addresses: addresses.join(', '), down: link === 'down', rate: rate_mbit ?? 0 });

/** Only what differs is asked for. */
export function nicChange(vm: string, mac: string, before: NicDraft, after: NicDraft): NicChange {
  return {
    vm,
    mac,
    ...(after.lock !== before.lock ? { lock: after.lock } : {}),
    ...(words(after.addresses).join() !== words(before.addresses).join() ? { addresses: words(after.addresses) } : {}),
    ...(after.down !== before.down ? { link: after.down ? ('down' as const) : ('up' as const) } : {}),
    ...(after.rate !== before.rate ? { rate_mbit: after.rate } : {}),
  };
}

export function NicFilter({ vm, nic, close }: { vm: Vm; nic: NicSettings; close: () => void }) {
  const { t } = useTranslation();
  const [before] = useState(() => fromNic(nic.settings));
  const [draft, setDraft] = useState(before);
  const set = (part: Partial<NicDraft>) => setDraft((now) => ({ ...now, ...part }));
  const params = nicChange(vm.id, nic.mac, before, draft);
  const wrong = words(draft.addresses).find((address) => !ADDRESS.test(address));
  const lacks = draft.lock === 'addresses' && words(draft.addresses).length === 0;
  return (
    <FormDialog
      act={{ method: 'vm.set_nic', params, title: t('What may pass {{mac}} of {{name}}', { mac: nic.mac, name: vm.name }), undo: { method: 'vm.set_nic', params: nicChange(vm.id, nic.mac, draft, before) } }}
      button={t('Change')}
      ready={wrong === undefined && !lacks && Object.keys(params).length > 2}
      waits={t('Nothing is changed yet.')}
      close={close}
      about={t('It takes effect at once. A clone, a copy or a restored VM does not have it.')}
    >
      <ChoiceField id="nic-lock" label={t('The guest may send from')} value={draft.lock} set={(lock) => set({ lock: lock as VifLock })} options={Object.entries(LOCK).map(([lock, text]): [string, string] => [lock, t(text)])} />
      <TextField
        id="nic-addresses"
        label={t('Addresses of the guest')}
        value={draft.addresses}
        set={(addresses) => set({ addresses })}
        required={draft.lock === 'addresses'}
        placeholder="10.0.0.7, fd00::7"
        wrong={wrong !== undefined ? t('This is no address: {{address}}', { address: wrong }) : undefined}
        help={t('Rules that name a tag of the VM use them, too.')}
      />
      <NumberField id="nic-rate" label={t('At most (Mbit/s)')} value={draft.rate} set={(rate) => set({ rate })} min={0} max={1_000_000} help={t('In each direction; what is more is dropped. 0: no limit.')} />
      <ChoiceField
        id="nic-link"
        label={t('Link')}
        value={draft.down ? 'down' : 'up'}
        set={(link) => set({ down: link === 'down' })}
        options={[
          ['up', t('Up')],
          ['down', t('Down: nothing passes; the guest still sees a link')],
        ]}
      />
    </FormDialog>
  );
}
