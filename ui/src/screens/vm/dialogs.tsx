// Forms about a whole VM: a second one like it, a medium for its CD drive.

import { Checkbox } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import type { Vm } from '../../api/generated';
import { ChoiceField, Help, TextField, useVmNameProblem, VM_NAME } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';
import { useAll } from '../../list/all';

export function CloneVm({ vm, close }: { vm: Vm; close: () => void }) {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const [name, setName] = useState('');
  const [description, setDescription] = useState('');
  const [start, setStart] = useState(false);
  const wrong = useVmNameProblem(name);
  const running = vm.power !== 'stopped';
  return (
    <FormDialog
      act={{ method: 'vm.clone', params: { vm: vm.id, name, ...(description ? { description } : {}), ...(start ? { start } : {}) }, title: t('Clone {{name}}', { name: vm.name }) }}
      button={t('Clone it')}
      ready={VM_NAME.test(name)}
      close={close}
      done={(started) => void navigate(started.object ? `/vms/${started.object}` : '/vms')}
      about={running ? t('A new VM with disks and MAC addresses of its own. Its disks are those of one instant: to its guest, a power cut.') : t('A new VM with disks and MAC addresses of its own.')}
    >
      <TextField id="clone-name" label={t('Name')} value={name} set={setName} required autoFocus wrong={wrong} />
      <TextField id="clone-description" label={t('Description')} value={description} set={setDescription} help={t('Empty: as the other’s.')} />
      <Checkbox id="clone-start" label={t('Start it when it is made')} isChecked={start} onChange={(_event, on) => setStart(on)} />
    </FormDialog>
  );
}

export function InsertCd({ vm, close }: { vm: Vm; close: () => void }) {
  const { t } = useTranslation();
  const [chosen, setIso] = useState('');
  const isos = useAll('iso.list', {});
  const list = isos.data ?? [];
  const iso = chosen || list[0]?.id || '';
  return (
    <FormDialog act={{ method: 'vm.insert_cd', params: { vm: vm.id, iso }, title: t('Insert a CD into {{name}}', { name: vm.name }) }} button={t('Insert')} ready={iso !== ''} close={close} about={t('Also while it runs. A medium that is in the drive is taken out.')}>
      <ChoiceField id="cd-iso" required label={t('ISO')} value={iso} set={setIso} options={list.map((one) => [one.id, one.name])} none={list.length === 0 ? t('There is none') : undefined} />
      {isos.data && list.length === 0 && <Help>{t('Import one under Disks, or attach storage for ISOs.')}</Help>}
    </FormDialog>
  );
}
