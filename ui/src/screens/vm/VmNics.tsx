// The NICs of a VM: add one, remove one, say what may pass one.

import NetworkIcon from '@patternfly/react-icons/dist/esm/icons/network-icon';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import { useRead } from '../../api/client';
import type { NicSettings, NicSpec, Vm } from '../../api/generated';
import { msg } from '../../i18n/msg';
import { FALLBACK_MS } from '../../live/again';
import { CreateButton } from '../../parts/CreateButton';
import { ChoiceField, TextField, useNetworkOptions } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';
import { useNames } from '../../parts/names';
import type { Verb } from '../../parts/VerbMenu';
import { vmCannotChange } from '../../rules/vm';
import { useUser } from '../../shell/user';
import { Devices } from './Devices';
import { NicFilter, nicWords } from './NicFilter';

const MAC = /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/;

export function VmNics({ vm }: { vm: Vm }) {
  const { t } = useTranslation();
  const user = useUser();
  const names = useNames();
  const [adding, setAdding] = useState(false);
  const place = { pool: vm.pool, tags: vm.tags };
  const why = vmCannotChange(user, 'vm.attach_nic', vm, place);
  const nics = vm.spec?.nics ?? [];
  const [filtering, setFiltering] = useState<NicSettings>();
  // Groups come and go with tags and rules; calls are told of, and what follows from them is read again besides.
  const read = useRead('vm.nics', { vm: vm.id }, { enabled: vm.managed && nics.length > 0, every: FALLBACK_MS });
  const settings = (mac: string) => read.data?.find((one) => one.mac === mac);
  const add = <CreateButton secondary label={t('Add a NIC')} why={why} go={() => setAdding(true)} />;
  const verbs = (nic: NicSpec): Verb[] => [
    {
      label: t('What may pass'),
      why: vmCannotChange(user, 'vm.set_nic', vm, place) ?? (settings(nic.mac) ? undefined : msg('The page does not know its settings yet.')),
      go: () => setFiltering(settings(nic.mac)),
    },
    {
      label: t('Remove'),
      danger: true,
      why,
      act: { method: 'vm.detach_nic', params: { vm: vm.id, mac: nic.mac }, title: t('Remove the NIC {{mac}} from {{name}}', { mac: nic.mac, name: vm.name }) },
      question: { text: t('The guest loses this connection at once.'), button: t('Remove') },
    },
  ];
  return (
    <>
      <Devices
        label={t('NICs')}
        devices={nics}
        columns={[
          { header: t('Network'), cell: (nic) => <Link to={`/networks/${nic.network}`}>{names.network(nic.network)}</Link> },
          { header: t('MAC address'), cell: (nic) => <code>{nic.mac}</code> },
          { header: t('What may pass'), cell: (nic) => nicWords(settings(nic.mac), t), wrap: true },
          { header: t('Bridge on the host'), cell: (nic) => nic.bridge },
        ]}
        idOf={(nic) => nic.mac}
        nameOf={(nic) => nic.mac}
        verbs={verbs}
        add={add}
        none={{ icon: NetworkIcon, title: t('No NICs'), text: t('This VM is on no network.') }}
      />
      {filtering && <NicFilter vm={vm} nic={filtering} close={() => setFiltering(undefined)} />}
      {adding && <AddNic vm={vm} close={() => setAdding(false)} />}
    </>
  );
}

function AddNic({ vm, close }: { vm: Vm; close: () => void }) {
  const { t } = useTranslation();
  const networks = useNetworkOptions();
  const [network, setNetwork] = useState('');
  const [mac, setMac] = useState('');
  const chosen = network || networks[0]?.[0] || '';
  const params = { vm: vm.id, nic: { network: chosen, ...(mac ? { mac: mac.toLowerCase() } : {}) } };
  const act = { method: 'vm.attach_nic' as const, params, title: t('Add a NIC to {{name}}', { name: vm.name }) };
  const ready = chosen !== '' && (mac === '' || MAC.test(mac.toLowerCase()));
  return (
    <FormDialog act={act} button={t('Add')} ready={ready} close={close}>
      <ChoiceField id="nic-network" required label={t('Network')} value={chosen} set={setNetwork} options={networks} help={networks.length === 0 ? t('There is no network yet; create one first.') : undefined} />
      <TextField id="nic-mac" label={t('MAC address')} value={mac} set={setMac} placeholder="00:16:3e:…" help={t('Empty: a free one is chosen.')} wrong={MAC.test(mac.toLowerCase()) ? undefined : t('Six pairs of hexadecimal digits with colons between.')} />
    </FormDialog>
  );
}
