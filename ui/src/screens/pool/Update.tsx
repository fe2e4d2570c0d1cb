// The hosts of a pool are updated one after the other; the order and what speaks against it are shown before.

import { Checkbox, List, ListItem } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { usePlan } from '../../api/client';
import type { EvacuatedVm, HostUpdate, Pool } from '../../api/generated';
import { Alert } from '../../parts/Alert';
import { ErrorBox, Loading } from '../../parts/feedback';
import { ChoiceField, NumberField, TextField } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';
import { useFormat } from '../../parts/format';
import { MoveDisks, movingDisks } from '../../parts/MoveDisks';

interface Plan {
  hosts: { place: number; host: string; name: string; reason: string; vms: EvacuatedVm[]; disk_bytes?: number }[];
  left_out: { name: string; why: string }[];
}

type Kind = HostUpdate['kind'];

const ADDRESS = /^https?:\/\/[^\s/]+/;

export function UpdatePool({ pool, close }: { pool: Pool; close: () => void }) {
  const { t } = useTranslation();
  const [kind, setKind] = useState<Kind>('packages');
  const [url, setUrl] = useState('');
  const [atOnce, setAtOnce] = useState(1);
  const [stay, setStay] = useState(false);
  const [disks, setDisks] = useState(false);
  const what: HostUpdate = kind === 'image' ? { kind, url } : { kind };
  const fine = kind !== 'image' || ADDRESS.test(url);
  const params = { pool: pool.id, what, at_once: atOnce, vms_stay: stay, ...movingDisks(disks) };
  const kinds: [Kind, string][] = [
    ['packages', t('Packages, and a reboot where they need one')],
    ['image', t('A new system, for hosts installed from the medium')],
    ['reboot', t('A reboot alone')],
  ];
  return (
    <FormDialog
      act={{ method: 'pool.update', params, title: t('Update the hosts of {{name}}', { name: pool.name }) }}
      button={t('Update')}
      ready={fine}
      close={close}
      about={t('One after the other: its VMs leave, it is updated and starts anew, its VMs come back. It stops at the first host that fails.')}
    >
      <ChoiceField id="update-kind" label={t('What they get')} value={kind} set={(value) => setKind(value as Kind)} options={kinds} />
      {kind === 'image' && (
        <TextField
          id="update-url"
          label={t('Address of the image')}
          value={url}
          set={setUrl}
          required
          wrong={fine || url === '' ? undefined : t('An address that begins with https:// or http://.')}
          help={t('Of a folder with what the medium has in “live”, as the host reaches it.')}
        />
      )}
      <NumberField id="update-at-once" label={t('Hosts at the same time')} value={atOnce} set={setAtOnce} min={1} max={100} />
      <Checkbox id="update-stay" label={t('Leave VMs where they went to')} isChecked={stay} onChange={(_event, on) => setStay(on)} />
      <MoveDisks id="update-disks" on={disks} set={setDisks} back={!stay} />
      {fine && <Order params={params} />}
    </FormDialog>
  );
}

function Order({ params }: { params: object }) {
  const { t } = useTranslation();
  const format = useFormat();
  const read = usePlan<Plan>('pool.update', params);
  if (read.isPending) return <Loading lines={3} />;
  if (read.isError) return <ErrorBox error={read.error} title={t('It would be refused')} retry={() => void read.refetch()} />;
  const { hosts, left_out: leftOut } = read.data.plan;
  const stuck = hosts.flatMap((host) => host.vms.filter((vm) => vm.error).map((vm) => `${vm.name} (${host.name}): ${vm.error}`));
  return (
    <>
      <List component="ol" aria-label={t('In this order')}>
        {hosts.map((host) => (
          <ListItem key={host.host}>
            {host.name}: {host.reason}
            {!!host.disk_bytes && <> ({t('Disks that are copied: {{size}}', { size: format.bytes(host.disk_bytes) })})</>}
          </ListItem>
        ))}
      </List>
      {stuck.length > 0 && (
        <Alert isInline variant="warning" title={t('These cannot move:')}>
          <List isPlain>
            {stuck.map((line) => (
              <ListItem key={line}>{line}</ListItem>
            ))}
          </List>
        </Alert>
      )}
      {leftOut.length > 0 && (
        <Alert isInline variant="info" title={t('Left out:')}>
          <List isPlain>
            {leftOut.map((host) => (
              <ListItem key={host.name}>
                {host.name}: {host.why}
              </ListItem>
            ))}
          </List>
        </Alert>
      )}
    </>
  );
}
