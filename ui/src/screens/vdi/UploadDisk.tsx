// A file of this computer as a disk: a raw disk or an ISO image, sent through the orchestrator to its host.

import { ClipboardCopy, FormGroup } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import type { Sr } from '../../api/generated';
import { uploads } from '../../live/uploads';
import { Alert } from '../../parts/Alert';
import { Help, TextField } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';
import { useFormat } from '../../parts/format';
import { quote } from '../../rules/cli';
import { PlaceFields, usePlace } from './dialogs';
import { formatOf, type Format } from './format';

/** `debian-12.iso` is called `debian-12`. */
const nameOf = (file: string) => file.replace(/\.[A-Za-z0-9]{1,5}$/, '');

export function UploadDisk({ within, close }: { within?: Sr; close: () => void }) {
  const { t } = useTranslation();
  const format = useFormat();
  const [file, setFile] = useState<File>();
  const [known, setKnown] = useState<Format>();
  const [name, setName] = useState('');
  const place = usePlace(within);
  const choose = async (chosen: File | undefined) => {
    setFile(undefined);
    setKnown(undefined);
    if (!chosen) return;
    // A file that went away meanwhile cannot be read; sending it says so.
    setKnown(await formatOf(chosen).catch(() => undefined));
    setFile(chosen);
    setName((before) => before || nameOf(chosen.name));
  };
  const params = { name, ...place.params, capacity: file?.size ?? 0 };
  return (
    <FormDialog
      act={{ method: 'vdi.upload', params, title: t('Upload a file as a disk') }}
      button={t('Upload')}
      ready={!!file && file.size > 0 && !known && name !== '' && place.on !== ''}
      close={close}
      done={({ task, object }) => file && object && void uploads.begin({ id: object, task, name }, file)}
      about={t('A raw disk or an ISO image. It goes on after an interruption, as long as this page is open.')}
    >
      <FormGroup label={t('File')} fieldId="upload-file" isRequired>
        <input id="upload-file" type="file" required className="x-file" onChange={(event) => void choose(event.target.files?.[0])} />
        {file && <Help>{format.bytes(file.size)}</Help>}
      </FormGroup>
      {file && known && <NotRaw file={file} format={known} host={place.on} />}
      <TextField id="vdi-name" label={t('Name')} value={name} set={setName} required />
      <PlaceFields place={place} within={within} />
    </FormDialog>
  );
}

/** Why not, and how else. */
function NotRaw({ file, format, host }: { file: File; format: Format; host: string }) {
  const { t } = useTranslation();
  const from = quote(file.name);
  const line = format.kind === 'package' ? `xenith import upload ${from}` : `xenith vdi upload ${quote(nameOf(file.name))} ${from} --host ${host}`;
  const title = t('This is {{name}}, and would be kept as it is', { name: format.name });
  if (format.kind === 'packed') return <Alert isInline variant="warning" title={title}>{t('Unpack it first.')}</Alert>;
  return (
    <Alert isInline variant="warning" title={title}>
      {format.kind === 'package' && (
        <p>
          <Link to="/imports/upload">{t('Make a VM from a file')}</Link>
        </p>
      )}
      <p>{t('The command line reads it, and sends what is in it:')}</p>
      <ClipboardCopy isReadOnly hoverTip={t('Copy')} clickTip={t('Copied')} textAriaLabel={t('Command line')}>
        {line}
      </ClipboardCopy>
    </Alert>
  );
}
