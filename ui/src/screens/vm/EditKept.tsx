// What a VM is protected from, and the administrator's own fields.

import { Checkbox, FormGroup } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { Protection, Vm } from '../../api/generated';
import { AreaField } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';
import { customOf, customText, kept } from './hardware';

export function EditKept({ vm, close }: { vm: Vm; close: () => void }) {
  const { t } = useTranslation();
  const [protection, setProtection] = useState<Protection>(vm.protection ?? {});
  const [text, setText] = useState(customText(vm.custom));
  const kinds: [keyof Protection, string, string][] = [
    ['delete', t('Against deleting'), t('Nobody deletes it until this is taken off.')],
    ['start', t('Against starting'), t('Also resuming. Autostart is the host’s own: turn that off too.')],
    ['migration', t('Against moving'), t('Its disks stay where they are.')],
  ];
  return (
    <FormDialog
      act={{ method: 'vm.update', params: kept(vm, protection, text), title: t('Protection and fields of {{name}}', { name: vm.name }), undo: { method: 'vm.update', params: { vm: vm.id, protection: vm.protection ?? {}, custom: vm.custom ?? {} } } }}
      button={t('Change')}
      ready={customOf(text) !== undefined}
      close={close}
    >
      <FormGroup label={t('Protection')} role="group">
        {kinds.map(([kind, label, description]) => (
          <Checkbox key={kind} id={`protect-${kind}`} label={label} description={description} isChecked={!!protection[kind]} onChange={(_event, on) => setProtection({ ...protection, [kind]: on })} />
        ))}
      </FormGroup>
      <AreaField id="custom-fields" label={t('Fields of your own')} value={text} set={setText} rows={4} placeholder="owner=ann" wrong={customOf(text) === undefined ? t('Each line is name=value, each name once.') : undefined} help={t('One a line, name=value: an owner, a cost centre, a ticket.')} />
    </FormDialog>
  );
}
