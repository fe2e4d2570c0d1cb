// Forms about snapshots: take one, make a VM from one.

import { Checkbox } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import type { Quiesce, Snapshot, Vm } from '../../api/generated';
import { TextField, useVmNameProblem, VM_NAME } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';
import { QuiesceField } from '../backup/quiesce';

export function TakeSnapshot({ vm, taken, close }: { vm: Pick<Vm, 'id' | 'name' | 'power'>; taken: string[]; close: () => void }) {
  const { t } = useTranslation();
  const [name, setName] = useState('');
  const [description, setDescription] = useState('');
  const [quiesce, setQuiesce] = useState<Quiesce>('try');
  const [memory, setMemory] = useState(false);
  const runs = vm.power === 'running';
  const kept = runs && memory;
  const there = taken.includes(name);
  return (
    <FormDialog
      act={{ method: 'snapshot.create', params: { vm: vm.id, name, ...(description ? { description } : {}), ...(kept ? { memory: true } : quiesce === 'try' ? {} : { quiesce }) }, title: t('Take a snapshot of {{name}}', { name: vm.name }) }}
      button={t('Take')}
      ready={name.trim() !== '' && !there}
      close={close}
      about={kept ? t('All its disks and its memory at one instant: the VM can go on from there. It runs while most of its memory is written, and stands for the rest.') : t('All its disks at one instant; the guest stands for under a second. Memory is not kept.')}
    >
      <TextField id="snapshot-name" label={t('Name')} value={name} set={setName} required autoFocus placeholder="before-upgrade" wrong={there ? t('It has a snapshot of this name.') : undefined} />
      <TextField id="snapshot-description" label={t('Description')} value={description} set={setDescription} />
      {runs && <Checkbox id="snapshot-memory" label={t('Keep its memory too')} isChecked={memory} onChange={(_event, on) => setMemory(on)} />}
      {!kept && <QuiesceField id="snapshot-quiesce" value={quiesce} set={setQuiesce} />}
    </FormDialog>
  );
}

export function CloneSnapshot({ snapshot, close }: { snapshot: Snapshot; close: () => void }) {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const [name, setName] = useState('');
  const [start, setStart] = useState(false);
  const wrong = useVmNameProblem(name);
  return (
    <FormDialog
      act={{ method: 'snapshot.clone', params: { snapshot: snapshot.id, name, ...(start ? { start } : {}) }, title: t('A VM from {{name}}', { name: snapshot.name }) }}
      button={t('Create')}
      ready={VM_NAME.test(name)}
      close={close}
      done={(started) => void navigate(started.object ? `/vms/${started.object}` : '/vms')}
      about={t('A new VM with these disks and new MAC addresses. What it is made from stays as it is.')}
    >
      <TextField id="clone-name" label={t('Name')} value={name} set={setName} required autoFocus wrong={wrong} />
      <Checkbox id="clone-start" label={t('Start it when it is made')} isChecked={start} onChange={(_event, on) => setStart(on)} />
    </FormDialog>
  );
}
