// The cut-over of an import: now, or at a time.

import { Checkbox, FormGroup, Radio, TextInput } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { Import } from '../../api/generated';
import { FormDialog } from '../../parts/FormDialog';

export function CutOver({ row, close }: { row: Import; close: () => void }) {
  const { t } = useTranslation();
  const [later, setLater] = useState(false);
  const [at, setAt] = useState('');
  const [force, setForce] = useState(false);
  const time = later && at ? new Date(at).toISOString() : undefined;
  return (
    <FormDialog
      act={{ method: 'import.cut_over', params: { import: row.id, ...(time ? { at: time } : {}), ...(force ? { force } : {}) }, title: t('Cut {{name}} over', { name: row.name }) }}
      button={t('Cut over')}
      ready={!later || at !== ''}
      close={close}
      about={t('The source is shut down, what changed last is copied, and the VM is made here. The source stays as it is, switched off.')}
    >
      <FormGroup role="radiogroup" fieldId="cut-when" label={t('When')}>
        <Radio id="cut-now" name="cut-when" label={t('Now')} isChecked={!later} onChange={() => setLater(false)} />
        <Radio id="cut-later" name="cut-when" label={t('At a time')} isChecked={later} onChange={() => setLater(true)} />
      </FormGroup>
      {later && (
        <FormGroup label={t('Time')} fieldId="cut-at" isRequired>
          <TextInput id="cut-at" type="datetime-local" isRequired value={at} onChange={(_event, value) => setAt(value)} />
        </FormGroup>
      )}
      <Checkbox id="cut-force" label={t('Power the source off when its guest does not shut down in time')} isChecked={force} onChange={(_event, on) => setForce(on)} />
    </FormDialog>
  );
}
