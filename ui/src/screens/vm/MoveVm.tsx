// Another host for a VM: where it would go, how, and which disks would be copied is shown before.

import { Checkbox, List, ListItem } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { usePlan } from '../../api/client';
import type { MigrateVm, Vm } from '../../api/generated';
import { Facts } from '../../parts/Facts';
import { ErrorBox, Loading } from '../../parts/feedback';
import { ChoiceField, NumberField, useHostOptions, useSrOptions } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';
import { useFormat } from '../../parts/format';
import { useNames, useSrName } from '../../parts/names';

const MIB = 1024 ** 2;

interface Plan {
  to: string;
  /** In the orchestrator's words. */
  how: string;
  /** Disks that go along. */
  along?: { disks: { name: string; size: number; to_sr: string }[]; copy: { expected: string }; stands: string } | null;
}

export function MoveVm({ vm, close }: { vm: Vm; close: () => void }) {
  const { t } = useTranslation();
  const [host, setHost] = useState('');
  const [disks, setDisks] = useState(false);
  const [chosen, setSr] = useState('');
  const [mib, setMib] = useState(0);
  const hosts = useHostOptions().filter(([id]) => id !== vm.host);
  const srs = useSrOptions(host);
  const sr = srs.some(([id]) => id === chosen) ? chosen : '';
  const copies = disks ? { move_disks: true, ...(sr ? { sr } : {}), ...(mib > 0 ? { bandwidth: mib * MIB } : {}) } : {};
  const params: MigrateVm = { vm: vm.id, ...(host ? { host } : {}), ...copies };
  return (
    <FormDialog
      act={{ method: 'vm.migrate', params, title: t('Move {{name}}', { name: vm.name }) }}
      button={t('Move')}
      ready={hosts.length > 0}
      close={close}
      about={vm.power === 'running' ? t('It goes as it runs, and stands for a moment at the end. The other host must reach its disks, or they are copied.') : t('Its definition goes; its disks stay where they are, and the other host must reach them, or they are copied.')}
    >
      <ChoiceField id="move-host" label={t('Host')} value={host} set={setHost} options={hosts} none={t('The best one')} />
      <Checkbox id="move-disks" label={t('Copy the disks that the other host does not reach')} isChecked={disks} onChange={(_event, on) => setDisks(on)} />
      {disks && host !== '' && <ChoiceField id="move-sr" label={t('Where to')} value={sr} set={setSr} options={srs} none={t('The host’s own')} />}
      {disks && <NumberField id="move-rate" label={t('Copy at most (MiB/s)')} value={mib} set={setMib} min={0} max={1_000_000} help={t('0: no limit. What the VM has to stand for goes without one.')} />}
      {hosts.length > 0 && <Planned params={params} />}
    </FormDialog>
  );
}

function Planned({ params }: { params: MigrateVm }) {
  const { t } = useTranslation();
  const format = useFormat();
  const names = useNames();
  const srName = useSrName();
  const read = usePlan<Plan>('vm.migrate', params);
  if (read.isPending) return <Loading lines={2} />;
  if (read.isError) return <ErrorBox error={read.error} title={t('It would be refused')} retry={() => void read.refetch()} />;
  const { to, how, along } = read.data.plan;
  return (
    <>
      <Facts
        label={t('What would be done')}
        facts={[
          [t('To host'), names.host(to)],
          [t('How'), how],
          !!along && [t('The copy takes'), along.copy.expected],
          !!along && [t('It stands'), along.stands],
        ]}
      />
      {along && (
        <List isPlain aria-label={t('Disks that are copied')}>
          {along.disks.map((disk) => (
            <ListItem key={disk.name}>{t('{{name}}, {{size}}, to {{sr}}', { name: disk.name, size: format.bytes(disk.size), sr: srName(disk.to_sr) })}</ListItem>
          ))}
        </List>
      )}
    </>
  );
}
