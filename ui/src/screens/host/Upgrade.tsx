// A host gets a new system; what speaks against it is said by the orchestrator, before anything is touched.

import { Checkbox } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { Host } from '../../api/generated';
import { TextField } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';

const ADDRESS = /^https?:\/\/[^\s/]+/;

export function Upgrade({ host, close }: { host: Host; close: () => void }) {
  const { t } = useTranslation();
  const [url, setUrl] = useState('');
  const [evacuate, setEvacuate] = useState(false);
  const fine = ADDRESS.test(url);
  return (
    <FormDialog
      act={{ method: 'host.upgrade', params: { host: host.id, url, evacuate }, title: t('Upgrade {{name}}', { name: host.name }) }}
      button={t('Upgrade')}
      ready={fine}
      close={close}
      about={t('It downloads a signed system, starts anew into it, and goes back by itself when that does not come up.')}
    >
      <TextField
        id="upgrade-url"
        label={t('Address of the image')}
        value={url}
        set={setUrl}
        required
        autoFocus
        wrong={fine || url === '' ? undefined : t('An address that begins with https:// or http://.')}
        help={t('Of a folder with what the medium has in “live”, as the host reaches it.')}
      />
      <Checkbox id="upgrade-evacuate" label={t('Move its VMs away first; without this none may run')} isChecked={evacuate} onChange={(_event, on) => setEvacuate(on)} />
    </FormDialog>
  );
}
