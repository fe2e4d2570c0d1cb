// Forms about templates: from a VM, or from an image of the web; what cloud-init is told in each VM made from one.

import { Grid } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import type { Template, Vm } from '../../api/generated';
import { ChoiceField, NumberField, TextField, useHostOptions, useSrOptions } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';
import { useFragments } from '../fragment/parts';
import { FragmentPicker } from '../fragment/Picker';

/** The address of an image and, where it is known, its digest. */
export const isUrl = (text: string): boolean => /^https?:\/\/[^/\s]\S*$/.test(text);
export const isDigest = (text: string): boolean => text === '' || /^[0-9a-f]{64}$/i.test(text);

export function TemplateFromVm({ vm, close }: { vm: Pick<Vm, 'id' | 'name'>; close: () => void }) {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const [name, setName] = useState('');
  const [description, setDescription] = useState('');
  return (
    <FormDialog
      act={{ method: 'template.create', params: { vm: vm.id, name, ...(description ? { description } : {}) }, title: t('A template from {{name}}', { name: vm.name }) }}
      button={t('Create')}
      ready={name !== ''}
      close={close}
      done={() => void navigate('/templates')}
      about={t('Its disks as they are now. The VM stays as it is. Take what is personal out of the guest first: host keys, machine id, passwords.')}
    >
      <TextField id="template-name" label={t('Name')} value={name} set={setName} required autoFocus />
      <TextField id="template-description" label={t('Description')} value={description} set={setDescription} />
    </FormDialog>
  );
}

export function ImportTemplate({ close }: { close: () => void }) {
  const { t } = useTranslation();
  const hosts = useHostOptions();
  const [name, setName] = useState('');
  const [url, setUrl] = useState('');
  const [sha256, setSha256] = useState('');
  const [host, setHost] = useState('');
  const [sr, setSr] = useState('');
  const [firmware, setFirmware] = useState<'bios' | 'uefi'>('uefi');
  const [vcpus, setVcpus] = useState(1);
  const [memory, setMemory] = useState(1024);
  const on = host || hosts[0]?.[0] || '';
  const srs = useSrOptions(on);
  const params = {
    name,
    url,
    host: on,
    platform: { kind: 'hvm' as const, firmware },
    vcpus: { online: vcpus, max: vcpus },
    memory: { target: memory, max: memory },
    ...(sha256 ? { sha256 } : {}),
    ...(sr ? { sr } : {}),
  };
  return (
    <FormDialog
      act={{ method: 'template.import', params, title: t('Import an image as a template') }}
      button={t('Import')}
      ready={name !== '' && isUrl(url) && isDigest(sha256) && on !== ''}
      close={close}
      about={t('The host fetches it. Raw, qcow2, VHD, VHDX or VMDK, recognised by its contents. An interrupted one goes on where it was.')}
    >
      <TextField id="template-name" label={t('Name')} value={name} set={setName} required autoFocus placeholder="debian-13" />
      <TextField id="template-url" label={t('Address')} value={url} set={setUrl} required placeholder="https://cloud.debian.org/…/debian-13-generic-amd64.qcow2" wrong={isUrl(url) ? undefined : t('It begins with https:// or http://.')} />
      <TextField id="template-sha256" label={t('SHA-256')} value={sha256} set={setSha256} wrong={isDigest(sha256) ? undefined : t('64 hexadecimal digits, or none.')} help={t('Of the file, as its publisher gives it. Without it nobody knows that the file is theirs.')} />
      <ChoiceField id="template-host" required label={t('Host')} value={on} set={setHost} options={hosts} />
      <ChoiceField id="template-sr" label={t('Storage')} value={sr} set={setSr} options={srs} none={t('The host’s own')} />
      <Grid hasGutter sm={6}>
        <ChoiceField
          id="template-firmware"
          label={t('Firmware')}
          value={firmware}
          set={(value) => setFirmware(value as 'bios' | 'uefi')}
          options={[
            ['uefi', 'UEFI'],
            ['bios', 'BIOS'],
          ]}
        />
        <NumberField id="template-vcpus" label={t('vCPUs')} value={vcpus} set={setVcpus} min={1} max={512} />
        <NumberField id="template-memory" label={t('Memory (MiB)')} value={memory} set={setMemory} min={1} step={256} />
      </Grid>
    </FormDialog>
  );
}

export function SetFragments({ template, close }: { template: Template; close: () => void }) {
  const { t } = useTranslation();
  const { all } = useFragments();
  const before = template.fragments ?? [];
  const [fragments, set] = useState(before);
  const method = 'template.set_fragments' as const;
  return (
    <FormDialog
      act={{ method, params: { template: template.id, fragments }, title: t('The fragments of {{name}}', { name: template.name }), undo: { method, params: { template: template.id, fragments: before } } }}
      button={t('Change')}
      ready={fragments.join() !== before.join()}
      waits={t('Nothing is changed yet.')}
      close={close}
      about={t('Each VM that is made from it from now on gets them, in this order. VMs that are there stay as they are.')}
    >
      <FragmentPicker id="template-fragments" label={t('Fragments')} value={fragments} set={set} options={all.filter(({ pool }) => pool === template.pool)} help={t('Of two values the later one holds; lists are joined; scripts run in this order.')} />
    </FormDialog>
  );
}
