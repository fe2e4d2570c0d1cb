// Changes a definition. Only what differs is sent; what a running VM cannot take waits for its next start.

import { FormGroup, FormHelperText, FormSelect, FormSelectOption, Grid, HelperText, HelperTextItem, TextArea, TextInput } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { UpdateVm, Vm, VmSpec } from '../../api/generated';
import { NumberField, words } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';

export function changes(vm: Vm, spec: VmSpec, form: Draft): UpdateVm {
  const update: UpdateVm = { vm: vm.id };
  if (form.name !== vm.name) update.name = form.name;
  if (form.description !== vm.description) update.description = form.description;
  const tags = words(form.tags);
  if (tags.join() !== [...vm.tags].sort().join()) update.tags = tags;
  if (form.vcpus !== spec.vcpus.online || form.maxVcpus !== spec.vcpus.max) {
    update.vcpus = { online: form.vcpus, max: Math.max(form.vcpus, form.maxVcpus) };
  }
  if (form.memory !== spec.memory.target || form.maxMemory !== spec.memory.max) {
    update.memory = { target: form.memory, max: Math.max(form.memory, form.maxMemory) };
  }
  if (form.onCrash !== (spec.on_crash ?? 'restart')) update.on_crash = form.onCrash as UpdateVm['on_crash'];
  if (form.autostart && !spec.autostart) update.autostart = { order: 100 };
  if (!form.autostart && spec.autostart) update.no_autostart = true;
  return update;
}

/** The change that takes `update` back: the same fields as they are now. */
export function changesBack(vm: Vm, spec: VmSpec, update: UpdateVm): UpdateVm {
  return {
    vm: vm.id,
    ...(update.name == null ? {} : { name: vm.name }),
    ...(update.description == null ? {} : { description: vm.description }),
    ...(update.tags == null ? {} : { tags: vm.tags }),
    ...(update.vcpus == null ? {} : { vcpus: spec.vcpus }),
    ...(update.memory == null ? {} : { memory: spec.memory }),
    ...(update.on_crash == null ? {} : { on_crash: spec.on_crash ?? 'restart' }),
    ...(update.autostart == null ? {} : { no_autostart: true }),
    ...(update.no_autostart && spec.autostart ? { autostart: spec.autostart } : {}),
  };
}

export interface Draft {
  name: string;
  description: string;
  tags: string;
  vcpus: number;
  maxVcpus: number;
  memory: number;
  maxMemory: number;
  onCrash: string;
  autostart: boolean;
}

export function EditVm({ vm, spec, close }: { vm: Vm; spec: VmSpec; close: () => void }) {
  const { t } = useTranslation();
  const [form, setForm] = useState<Draft>({
    name: vm.name,
    description: vm.description,
    tags: vm.tags.join(' '),
    vcpus: spec.vcpus.online,
    maxVcpus: spec.vcpus.max,
    memory: spec.memory.target,
    maxMemory: spec.memory.max,
    onCrash: spec.on_crash ?? 'restart',
    autostart: !!spec.autostart,
  });
  const set = <K extends keyof Draft>(field: K) => (value: Draft[K]) => setForm({ ...form, [field]: value });
  const params = changes(vm, spec, form);
  const same = Object.keys(params).length === 1;
  const act = { method: 'vm.update' as const, params, title: t('Change {{name}}', { name: vm.name }), undo: { method: 'vm.update' as const, params: changesBack(vm, spec, params) } };
  return (
    <FormDialog act={act} button={t('Change')} ready={!same} waits={t('Nothing is changed yet.')} close={close} wide about={t('A running VM gets what it can take at once; the rest waits for its next start.')}>
      <FormGroup label={t('Name')} fieldId="edit-name">
        <TextInput id="edit-name" value={form.name} onChange={(_e, value) => set('name')(value)} />
      </FormGroup>
      <Grid hasGutter md={6}>
        <NumberField id="edit-vcpus" label={t('vCPUs')} value={form.vcpus} min={1} max={512} set={set('vcpus')} />
        <NumberField id="edit-max-vcpus" label={t('vCPUs at most')} value={form.maxVcpus} min={1} max={512} set={set('maxVcpus')} />
        <NumberField id="edit-memory" label={t('Memory (MiB)')} value={form.memory} min={1} step={128} set={set('memory')} />
        <NumberField id="edit-max-memory" label={t('Memory at most (MiB)')} value={form.maxMemory} min={1} step={128} set={set('maxMemory')} />
        <FormGroup label={t('After a crash')} fieldId="edit-crash">
          <FormSelect id="edit-crash" value={form.onCrash} onChange={(_e, value) => set('onCrash')(value)}>
            <FormSelectOption value="restart" label={t('start it again')} />
            <FormSelectOption value="stop" label={t('leave it off')} />
            <FormSelectOption value="preserve" label={t('keep it for a look inside')} />
          </FormSelect>
        </FormGroup>
        <FormGroup label={t('With the host')} fieldId="edit-autostart">
          <FormSelect id="edit-autostart" value={form.autostart ? 'yes' : 'no'} onChange={(_e, value) => set('autostart')(value === 'yes')}>
            <FormSelectOption value="yes" label={t('starts')} />
            <FormSelectOption value="no" label={t('does not start')} />
          </FormSelect>
        </FormGroup>
      </Grid>
      <FormGroup label={t('Tags')} fieldId="edit-tags">
        <TextInput id="edit-tags" value={form.tags} onChange={(_e, value) => set('tags')(value)} />
        <FormHelperText>
          <HelperText>
            <HelperTextItem>{t('Words with spaces between. Roles may hang on tags.')}</HelperTextItem>
          </HelperText>
        </FormHelperText>
      </FormGroup>
      <FormGroup label={t('Description')} fieldId="edit-description">
        <TextArea id="edit-description" value={form.description} resizeOrientation="vertical" onChange={(_e, value) => set('description')(value)} />
      </FormGroup>
    </FormDialog>
  );
}
