// A host starts anew or goes off: its VMs leave first, as is chosen; what would become of each is shown before.

import { FormGroup, List, ListItem, Radio } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { usePlan } from '../../api/client';
import type { EvacuatedVm, Host, HostGuests } from '../../api/generated';
import { Alert } from '../../parts/Alert';
import { ErrorBox, Loading } from '../../parts/feedback';
import { FormDialog } from '../../parts/FormDialog';
import { MoveDisks, movingDisks } from '../../parts/MoveDisks';
import { Moves } from './Moves';

export type Down = 'host.reboot' | 'host.shutdown';

export function GoDown({ host, method, close }: { host: Host; method: Down; close: () => void }) {
  const { t } = useTranslation();
  const [guests, setGuests] = useState<HostGuests>('refuse');
  const [disks, setDisks] = useState(false);
  const params = { host: host.id, guests, ...movingDisks(guests === 'evacuate' && disks) };
  const plan = usePlan<{ vms: EvacuatedVm[]; shut_down: string[] }>(method, params);
  const reboot = method === 'host.reboot';
  const title = reboot ? t('Reboot {{name}}', { name: host.name }) : t('Shut down {{name}}', { name: host.name });
  const ways: [HostGuests, string][] = [
    ['refuse', t('None may run')],
    ['evacuate', t('Move them to other hosts')],
    ['shut-down', t('Shut them down, the important ones last')],
  ];
  return (
    <FormDialog
      act={{ method, params, title }}
      button={reboot ? t('Reboot') : t('Shut down')}
      ready={plan.data !== undefined}
      close={close}
      about={reboot ? t('It starts anew, and is waited for.') : t('It stays off and in maintenance until somebody switches it on.')}
    >
      <FormGroup role="radiogroup" fieldId="down-vms" label={t('Its VMs')}>
        {ways.map(([way, label]) => (
          <Radio key={way} id={`down-${way}`} name="down-vms" label={label} isChecked={guests === way} onChange={() => setGuests(way)} />
        ))}
      </FormGroup>
      {guests === 'evacuate' && <MoveDisks id="down-disks" on={disks} set={setDisks} />}
      {plan.isPending && <Loading lines={2} />}
      {plan.isError && <ErrorBox error={plan.error} title={t('It would be refused')} />}
      {plan.data && (plan.data.plan.vms.length > 0 || plan.data.plan.shut_down.length > 0) && (
        <Alert isInline variant="info" title={t('Before it goes down:')}>
          <List isPlain>
            <Moves vms={plan.data.plan.vms} />
            {plan.data.plan.shut_down.map((vm) => (
              <ListItem key={vm}>{t('{{vm}} is shut down', { vm })}</ListItem>
            ))}
          </List>
        </Alert>
      )}
    </FormDialog>
  );
}
