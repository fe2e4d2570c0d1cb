// An import that waits for the disks of its file, while nothing sends them: the file once more, or the command.

import { ClipboardCopy, FormGroup } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';
import type { Import } from '../../api/generated';
import { PackageFile } from '../../api/package';
import { uploads, useUploads } from '../../live/uploads';
import { Alert } from '../../parts/Alert';
import { formatOf } from '../vdi/format';
import { origin } from './words';

export function Resend({ row }: { row: Import }) {
  const { t } = useTranslation();
  const list = useUploads();
  // The strip at the top tells of it.
  if (list.some(({ id }) => id === row.id)) return null;
  const send = async (file: File | undefined) => {
    if (!file) return;
    const known = await formatOf(file).catch(() => undefined);
    const size = row.disks.reduce((sum, { capacity }) => sum + capacity, 0);
    // Whether it is the same file is found out: what the host has is compared first.
    await uploads.beginVm({ id: row.id, task: row.task, name: row.name, size }, new PackageFile(file, known ? {} : { raw: true }), 'anybodys');
  };
  return (
    <Alert isInline variant="info" title={t('It waits for its disks')}>
      <FormGroup label={t('Go on with the same file: {{name}}', { name: origin(row) })} fieldId="resend-file">
        <input id="resend-file" type="file" className="x-file" onChange={(event) => void send(event.target.files?.[0])} />
      </FormGroup>
      <p className="x-above">{t('Or from where the file is:')}</p>
      <ClipboardCopy isReadOnly isCode hoverTip={t('Copy')} clickTip={t('Copied')} textAriaLabel={t('Command line')}>
        {`xenith import send ${row.name} FILE`}
      </ClipboardCopy>
    </Alert>
  );
}
