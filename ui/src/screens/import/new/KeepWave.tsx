// The VMs that were chosen as a wave: they begin when it does, so many at a time.

import { Grid } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import { NumberField, TextField } from '../../../parts/fields';
import { FormDialog } from '../../../parts/FormDialog';
import { waveParams, type ImportDraft } from './draft';

export function KeepWave({ draft, close }: { draft: ImportDraft; close: () => void }) {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const [name, setName] = useState('');
  const [overall, setOverall] = useState(20);
  const [perHost, setPerHost] = useState(4);
  return (
    <FormDialog
      act={{ method: 'wave.create', params: waveParams(draft, name, { overall, per_host: perHost }), title: t('Keep them as a wave') }}
      button={t('Create')}
      ready={name.trim() !== ''}
      close={close}
      done={(wave) => void navigate(`/waves/${wave.id}`)}
      about={t('Nothing moves until the wave is begun.')}
    >
      <TextField id="wave-name" label={t('Name')} value={name} set={setName} required autoFocus placeholder="friday" />
      <Grid hasGutter sm={6}>
        <NumberField id="wave-overall" label={t('VMs at a time')} value={overall} set={setOverall} min={1} max={100} />
        <NumberField id="wave-host" label={t('From one host of the source')} value={perHost} set={setPerHost} min={1} max={10} />
      </Grid>
    </FormDialog>
  );
}
