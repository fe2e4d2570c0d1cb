// A host gets a new system; what speaks against it is said by the orchestrator, before anything is touched.

import { Checkbox, List } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { usePlan } from '../../api/client';
import type { EvacuatedVm, Host } from '../../api/generated';
import { Alert } from '../../parts/Alert';
import { ErrorBox, Loading } from '../../parts/feedback';
import { TextField } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';
import { MoveDisks, movingDisks } from '../../parts/MoveDisks';
import { Moves } from './Moves';

const ADDRESS = /^https?:\/\/[^\s/]+/;

export function Upgrade({ host, close }: { host: Host; close: () => void }) {
  const { t } = useTranslation();
  const [url, setUrl] = useState('');
  const [evacuate, setEvacuate] = useState(false);
  const [disks, setDisks] = useState(false);
  const fine = ADDRESS.test(url);
  const params = { host: host.id, url, evacuate, ...movingDisks(evacuate && disks) };
  return (
    <FormDialog
      act={{ method: 'host.upgrade', params, title: t('Upgrade {{name}}', { name: host.name }) }}
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
      {evacuate && <MoveDisks id="upgrade-disks" on={disks} set={setDisks} />}
      {fine && <Before params={params} />}
    </FormDialog>
  );
}

/** What would be done with its VMs, or why it would be refused. */
function Before({ params }: { params: object }) {
  const { t } = useTranslation();
  const read = usePlan<{ vms: EvacuatedVm[] }>('host.upgrade', params);
  if (read.isPending) return <Loading lines={2} />;
  if (read.isError) return <ErrorBox error={read.error} title={t('It would be refused')} retry={() => void read.refetch()} />;
  const { vms } = read.data.plan;
  if (vms.length === 0) return null;
  return (
    <Alert isInline variant="info" title={t('Before it goes down:')}>
      <List isPlain>
        <Moves vms={vms} />
      </List>
    </Alert>
  );
}
