// Which file, and what it describes. It is read by the orchestrator, piece by piece; nothing is made of it yet.

import { Button, Checkbox, Form, FormGroup, List, ListItem } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { PackageFile, type Found, type Opening } from '../../../api/package';
import { Alert } from '../../../parts/Alert';
import { ErrorBox, Loading } from '../../../parts/feedback';
import { Facts } from '../../../parts/Facts';
import { Help, TextField } from '../../../parts/fields';
import { useFormat } from '../../../parts/format';
import { formatOf, type Format } from '../../vdi/format';
import { described, EMPTY_FILE, type FileDraft } from './draft';
import type { StepProps } from './FromFile';

interface Props extends StepProps {
  /** What the address said of the VM: it goes before what the first file says. */
  asked: Partial<FileDraft>;
  /** That file has been read. */
  taken(): void;
}

export function ChooseFile({ draft, set, asked, taken }: Props) {
  const { t } = useTranslation();
  const format = useFormat();
  const [file, setFile] = useState<File | undefined>(draft.source?.file);
  const [known, setKnown] = useState<Format>();
  const [vm, setVm] = useState('');
  const [manifest, setManifest] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>();
  const read = async (chosen: File, kind: Format | undefined) => {
    const opening: Opening = { ...(vm ? { vm } : {}), ...(kind ? {} : { raw: true }), ...(manifest ? { manifest } : {}) };
    const source = new PackageFile(chosen, opening);
    draft.source?.close();
    set({ ...EMPTY_FILE, ...asked, source, found: undefined });
    setError(undefined);
    setBusy(true);
    try {
      set({ ...described(await source.look(), chosen.name), ...asked });
      taken();
    } catch (error) {
      setError(error);
    } finally {
      setBusy(false);
    }
  };
  const choose = async (chosen: File | undefined) => {
    draft.source?.close();
    set({ source: undefined, found: undefined });
    setError(undefined);
    setFile(chosen);
    if (!chosen) return;
    const kind = await formatOf(chosen).catch(() => undefined);
    setKnown(kind);
    if (kind?.kind !== 'packed') await read(chosen, kind);
  };
  return (
    <Form
      className="x-narrow"
      onSubmit={(event) => {
        event.preventDefault();
        if (file) void read(file, known);
      }}
    >
      <FormGroup label={t('File')} fieldId="import-file" isRequired>
        <input id="import-file" type="file" className="x-file" disabled={busy} onChange={(event) => void choose(event.target.files?.[0])} />
        <Help>{file ? format.bytes(file.size) : t('An OVA, VMDK, qcow2, VHD or raw disk of this computer. It is sent while this page is open.')}</Help>
      </FormGroup>
      {file && known?.kind === 'packed' && (
        <Alert isInline variant="warning" title={t('This file is packed: {{name}}', { name: known.name })}>
          {t('Unpack it first.')}
        </Alert>
      )}
      {file && known?.kind === 'package' && (
        <>
          <TextField id="import-vm" label={t('Which VM')} value={vm} set={setVm} help={t('Only of a package with several: the name of one.')} />
          <Checkbox id="import-manifest" label={t('Compare it with its manifest first')} description={t('Reads all of the file once more.')} isChecked={manifest} onChange={(_event, on) => setManifest(on)} />
          <div>
            <Button type="submit" variant="secondary" isDisabled={busy}>
              {t('Read it again')}
            </Button>
          </div>
        </>
      )}
      {busy && <Loading lines={3} />}
      {error !== undefined && <ErrorBox error={error} title={t('The file cannot be imported')} retry={() => file && void read(file, known)} />}
      {draft.found && <Description found={draft.found} />}
    </Form>
  );
}

function Description({ found }: { found: Found }) {
  const { t } = useTranslation();
  const format = useFormat();
  return (
    <>
      <Facts
        label={t('What the file describes')}
        facts={[
          [t('Name'), found.name],
          [t('Operating system'), found.os],
          [t('vCPUs'), found.vcpus],
          [t('Memory'), found.memory_mib === null ? undefined : format.mib(found.memory_mib)],
          ...found.disks.map(({ name, capacity }): [string, string] => [name, format.bytes(capacity)]),
          [t('NICs'), format.number(found.nics.length)],
        ]}
      />
      {found.warnings.length > 0 && (
        <Alert isInline variant="warning" title={t('To be known before')}>
          <List>
            {found.warnings.map((warning) => (
              <ListItem key={warning}>{warning}</ListItem>
            ))}
          </List>
        </Alert>
      )}
    </>
  );
}
