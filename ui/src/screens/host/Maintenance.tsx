// The beginning of a host's maintenance. What runs there is shown first, and what would become of it: it stays until
// somebody sees to it, or moves to other hosts by a plan that is shown before it is asked for.

import { Checkbox, FormGroup, List, ListItem, Radio } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import { useRead } from '../../api/client';
import type { Evacuation, Host } from '../../api/generated';
import type { Act } from '../../parts/acts';
import { ErrorBox, Loading } from '../../parts/feedback';
import { FormDialog } from '../../parts/FormDialog';
import { MoveDisks, movingDisks } from '../../parts/MoveDisks';
import { EvacuationPlan } from './Evacuate';

const MOST = 12;

/** `moved` is told what became of the VMs where they were moved away. */
export function Maintenance({ host, close, moved }: { host: Host; close: () => void; moved: (came: Evacuation) => void }) {
  const { t } = useTranslation();
  const [moving, setMoving] = useState(false);
  const [disks, setDisks] = useState(false);
  const [seen, setSeen] = useState(false);
  const running = useRead('vm.list', { filter: `host_id:${host.id} power:running,paused`, limit: MOST });
  const total = running.data?.total ?? 0;
  const title = t('Maintenance of {{name}}', { name: host.name });
  const act: Act<'host.set_maintenance' | 'host.evacuate'> = moving
    ? { method: 'host.evacuate', params: { host: host.id, ...movingDisks(disks) }, title }
    : { method: 'host.set_maintenance', params: { host: host.id, maintenance: true }, title };
  return (
    <FormDialog
      act={act}
      button={moving ? t('Move its VMs away') : t('Begin maintenance')}
      ready={running.data !== undefined && (total === 0 || moving || seen)}
      waits={running.data && t('Say that you see to its VMs, or have them moved.')}
      close={close}
      done={(came) => Array.isArray(came.vms) && moved(came as Evacuation)}
      about={t('It takes no new VMs and starts none until the maintenance is ended.')}
    >
      {running.isPending && <Loading lines={2} />}
      {running.isError && <ErrorBox error={running.error} />}
      {running.data && total === 0 && <p>{t('No VM runs on it: it can be worked on at once.')}</p>}
      {running.data && total > 0 && (
        <>
          <FormGroup role="radiogroup" fieldId="maintenance-vms" label={t('Its VMs')}>
            <Radio id="maintenance-stay" name="maintenance-vms" label={t('Leave them where they are')} isChecked={!moving} onChange={() => setMoving(false)} />
            <Radio id="maintenance-move" name="maintenance-vms" label={t('Move them to other hosts')} isChecked={moving} onChange={() => setMoving(true)} />
          </FormGroup>
          {moving ? (
            <>
              <MoveDisks id="maintenance-disks" on={disks} set={setDisks} />
              <EvacuationPlan host={host} disks={disks} close={close} />
            </>
          ) : (
            <>
              <p>{t('{{count}} VMs run on it and run on. Shut them down before you work on the host:', { count: total })}</p>
              <List isPlain>
                {running.data.items.map((vm) => (
                  <ListItem key={vm.id}>
                    <Link to={`/vms/${vm.id}`} onClick={close}>
                      {vm.name}
                    </Link>
                  </ListItem>
                ))}
                {total > MOST && (
                  <ListItem>
                    <Link to={`/hosts/${host.id}?tab=vms`} onClick={close}>
                      {t('… all {{count}} of them', { count: total })}
                    </Link>
                  </ListItem>
                )}
              </List>
              <Checkbox id="maintenance-seen" label={t('I see to them')} isChecked={seen} onChange={(_event, on) => setSeen(on)} />
            </>
          )}
        </>
      )}
    </FormDialog>
  );
}
