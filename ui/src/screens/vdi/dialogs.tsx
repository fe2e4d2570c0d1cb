// Forms about disks: make one, fetch one, make one larger, copy one.

import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { Sr, Vdi } from '../../api/generated';
import { ChoiceField, NumberField, TextField, useHostOptions, useSrOptions } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';
import { useFormat } from '../../parts/format';
import { isDigest, isUrl } from '../template/dialogs';

const GIB = 1024 ** 3;

/** Which host and which of its SRs; `within` fixes both. */
export function usePlace(within?: Sr) {
  const hosts = useHostOptions().filter(([id]) => !within || within.hosts.includes(id));
  const [host, setHost] = useState('');
  const [chosen, setSr] = useState(within?.spec ? within.id : '');
  const on = host || hosts[0]?.[0] || '';
  const srs = useSrOptions(on);
  const sr = srs.some(([id]) => id === chosen) ? chosen : '';
  return { hosts, on, setHost, sr, setSr, srs, params: { host: on, ...(sr ? { sr } : {}) } };
}

export function PlaceFields({ place, within }: { place: ReturnType<typeof usePlace>; within?: Sr }) {
  const { t } = useTranslation();
  return (
    <>
      <ChoiceField id="vdi-host" required label={t('Host')} value={place.on} set={place.setHost} options={place.hosts} />
      {!within && <ChoiceField id="vdi-sr" label={t('Storage')} value={place.sr} set={place.setSr} options={place.srs} none={t('The host’s own')} />}
    </>
  );
}

export function CreateDisk({ within, close }: { within?: Sr; close: () => void }) {
  const { t } = useTranslation();
  const [name, setName] = useState('');
  const [gib, setGib] = useState(10);
  const place = usePlace(within);
  const params = { name, size: gib * GIB, ...place.params };
  return (
    <FormDialog act={{ method: 'vdi.create', params, title: t('Create a disk') }} button={t('Create')} ready={name !== '' && gib > 0 && place.on !== ''} close={close}>
      <TextField id="vdi-name" label={t('Name')} value={name} set={setName} required autoFocus />
      <NumberField id="vdi-size" label={t('Size (GiB)')} value={gib} set={setGib} min={1} max={65536} />
      <PlaceFields place={place} within={within} />
    </FormDialog>
  );
}

export function ImportDisk({ within, close }: { within?: Sr; close: () => void }) {
  const { t } = useTranslation();
  const [name, setName] = useState('');
  const [url, setUrl] = useState('');
  const [sha256, setSha256] = useState('');
  const place = usePlace(within);
  const params = { name, url, ...place.params, ...(sha256 ? { sha256 } : {}) };
  return (
    <FormDialog
      act={{ method: 'vdi.import', params, title: t('Import an image as a disk') }}
      button={t('Import')}
      ready={name !== '' && isUrl(url) && isDigest(sha256) && place.on !== ''}
      close={close}
      about={t('The host fetches it. Raw, ISO, qcow2, VHD, VHDX or VMDK, recognised by its contents. An interrupted one goes on where it was.')}
    >
      <TextField id="vdi-name" label={t('Name')} value={name} set={setName} required autoFocus />
      <TextField id="vdi-url" label={t('Address')} value={url} set={setUrl} required placeholder="https://…/image.qcow2" wrong={isUrl(url) ? undefined : t('It begins with https:// or http://.')} />
      <TextField id="vdi-sha256" label={t('SHA-256')} value={sha256} set={setSha256} wrong={isDigest(sha256) ? undefined : t('64 hexadecimal digits, or none.')} help={t('Of the file, as its publisher gives it. Without it nobody knows that the file is theirs.')} />
      <PlaceFields place={place} within={within} />
    </FormDialog>
  );
}

export function ResizeDisk({ vdi, close }: { vdi: Pick<Vdi, 'id' | 'name' | 'size'>; close: () => void }) {
  const { t } = useTranslation();
  const format = useFormat();
  const least = Math.ceil(vdi.size / GIB);
  const [gib, setGib] = useState(least);
  return (
    <FormDialog
      act={{ method: 'vdi.resize', params: { vdi: vdi.id, size: gib * GIB }, title: t('Make {{name}} larger', { name: vdi.name }) }}
      button={t('Make larger')}
      ready={gib * GIB > vdi.size}
      waits={t('Nothing is changed yet.')}
      close={close}
      about={t('A running guest sees it with its next request. Then grow the partition and the file system in it. A disk is never made smaller.')}
    >
      <NumberField id="vdi-size" label={t('Size (GiB)')} value={gib} set={setGib} min={least} max={65536} help={t('It has {{size}} now.', { size: format.bytes(vdi.size) })} />
    </FormDialog>
  );
}

export function CloneDisk({ vdi, close }: { vdi: Pick<Vdi, 'id' | 'name'>; close: () => void }) {
  const { t } = useTranslation();
  const [name, setName] = useState(`${vdi.name}-copy`);
  return (
    <FormDialog act={{ method: 'vdi.clone', params: { vdi: vdi.id, name }, title: t('Copy {{name}}', { name: vdi.name }) }} button={t('Copy it')} ready={name !== ''} close={close} about={t('A new disk with the same contents, in the same storage.')}>
      <TextField id="vdi-name" label={t('Name')} value={name} set={setName} required autoFocus />
    </FormDialog>
  );
}
