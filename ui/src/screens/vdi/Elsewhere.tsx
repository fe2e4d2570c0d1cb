// A disk, or a copy of it, in another place: another host, another of its SRs.

import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { Vdi } from '../../api/generated';
import { ChoiceField, TextField, useHostOptions, useSrOptions } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';

export function DiskElsewhere({ vdi, move, close }: { vdi: Vdi; move: boolean; close: () => void }) {
  const { t } = useTranslation();
  const hosts = useHostOptions();
  const [host, setHost] = useState<string>(vdi.host);
  const [sr, setSr] = useState('');
  const [name, setName] = useState(`${vdi.name}-copy`);
  const srs = useSrOptions(host);
  const on = srs.some(([id]) => id === sr) ? sr : '';
  const place = { vdi: vdi.id, host, ...(on ? { sr: on } : {}) };
  const title = { name: vdi.name };
  // A local SR is one of its host: there is nothing to do when it is there already.
  const same = move && (on ? on === vdi.sr : host === vdi.host && !srs.some(([id]) => id === vdi.sr));
  const fields = (
    <>
      <ChoiceField id="vdi-host" label={t('Host')} value={host} set={setHost} options={hosts} />
      <ChoiceField id="vdi-sr" label={t('Storage')} value={on} set={setSr} options={srs} none={t('The host’s own')} />
    </>
  );
  if (move) {
    return (
      <FormDialog act={{ method: 'vdi.migrate', params: place, title: t('Move {{name}}', title) }} button={t('Move')} ready={!same} waits={t('Nothing is changed yet.')} close={close} about={t('A VM needs all its disks on its own host. One that runs stands for a while at the end, in which its memory is saved and resumed.')}>
        {fields}
      </FormDialog>
    );
  }
  return (
    <FormDialog act={{ method: 'vdi.copy', params: { ...place, name }, title: t('Copy {{name}} to another place', title) }} button={t('Copy it')} ready={name !== ''} close={close} about={t('A new disk with the same contents; that of a running VM as it is now.')}>
      <TextField id="vdi-name" label={t('Name')} value={name} set={setName} required autoFocus />
      {fields}
    </FormDialog>
  );
}
