// Another CPU level for a pool: what it would be on each host, and which VMs keep more until they start anew, is shown
// before. For the level as it is that says who is left.

import { FormGroup, List, ListItem, Radio } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import { usePlan } from '../../api/client';
import type { CpuLevelMode, CpuLevelStatus, HostCpu, Pool, SetCpuLevel as Params } from '../../api/generated';
import { Alert } from '../../parts/Alert';
import { Facts } from '../../parts/Facts';
import { ErrorBox, Loading } from '../../parts/feedback';
import { ChoiceField, TextField } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';
import { FEATURES, sameLevel } from './cpu';
import { HostLevels, useLevels } from './HostLevels';
import { LEVEL } from './words';

type Kind = CpuLevelMode['kind'];
const KINDS = Object.keys(LEVEL) as Kind[];

interface Plan {
  levels: string[];
  hosts: HostCpu[];
  /** VMs that run with more, of which the first are named. */
  restart_total: number;
  restart: { vm: string; name: string }[];
}

export function SetCpuLevel({ pool, status, close }: { pool: Pool; status: CpuLevelStatus; close: () => void }) {
  const { t } = useTranslation();
  // As it was when the dialog was opened; who changes it meanwhile is not what is gone back to.
  const [before] = useState(status.mode);
  const [kind, setKind] = useState<Kind>(before.kind);
  const [features, setFeatures] = useState(before.kind === 'set' ? before.features : '');
  const told = status.hosts.filter((host) => host.features);
  const mode: CpuLevelMode = kind === 'set' ? { kind, features } : { kind };
  const fine = kind !== 'set' || FEATURES.test(features);
  const params: Params = { pool: pool.id, mode };
  return (
    <FormDialog
      act={{ method: 'pool.set_cpu_level', params, title: t('CPU level of {{name}}', { name: pool.name }), undo: { method: 'pool.set_cpu_level', params: { pool: pool.id, mode: before } } }}
      button={t('Change')}
      ready={fine && !sameLevel(before, mode)}
      waits={t('Nothing is changed yet.')}
      close={close}
      wide
      about={t('It counts for VMs that start from now on. One that runs keeps what it has until it is shut down and started; a reboot from inside changes nothing.')}
    >
      <FormGroup role="radiogroup" fieldId="level-kind" label={t('VMs get')}>
        {KINDS.map((one) => (
          <Radio key={one} id={`level-${one}`} name="level-kind" label={t(LEVEL[one].label)} description={t(LEVEL[one].text)} isChecked={kind === one} onChange={() => setKind(one)} />
        ))}
      </FormGroup>
      {kind === 'set' && (
        <>
          <ChoiceField
            id="level-of"
            label={t('As this host has them')}
            value={told.find((host) => host.features === features)?.host ?? ''}
            set={(id) => setFeatures(told.find(({ host }) => host === id)?.features ?? '')}
            options={told.map((host) => [host.host, host.name])}
            none={t('Others, given below')}
          />
          <TextField id="level-features" label={t('CPU features')} value={features} set={setFeatures} required wrong={fine ? undefined : t('As the page of a host has them: GenuineIntel:178bfbff:…, eight words in all.')} />
        </>
      )}
      {fine && <Planned params={params} close={close} />}
    </FormDialog>
  );
}

function Planned({ params, close }: { params: Params; close: () => void }) {
  const { t } = useTranslation();
  const read = usePlan<Plan>('pool.set_cpu_level', params);
  const levels = useLevels(read.data?.plan.levels ?? []);
  if (read.isPending) return <Loading lines={3} />;
  if (read.isError) return <ErrorBox error={read.error} title={t('It would be refused')} retry={() => void read.refetch()} />;
  const { hosts, restart, restart_total: total } = read.data.plan;
  const lacking = hosts.filter((host) => host.lacking.length > 0);
  return (
    <>
      {levels.length > 0 && <Facts label={t('The level')} facts={levels} />}
      {levels.length > 0 && total === 0 && <Alert isInline isPlain variant="success" title={t('No VM that runs has more than that')} />}
      {total > 0 && (
        <Alert isInline variant="warning" title={t('{{count}} VMs have more than that until they are shut down and started', { count: total })}>
          <List isPlain>
            {restart.map(({ vm, name }) => (
              <ListItem key={vm}>
                <Link to={`/vms/${vm}`} onClick={close}>
                  {name}
                </Link>
              </ListItem>
            ))}
            {total > restart.length && <ListItem>{t('… all {{count}} of them', { count: total })}</ListItem>}
          </List>
        </Alert>
      )}
      {lacking.length > 0 && (
        <Alert isInline variant="warning" title={t('VMs that other hosts have started do not go to: {{names}}', { names: lacking.map(({ name }) => name).join(', ') })}>
          {t('They lack features of the level.')}
        </Alert>
      )}
      <HostLevels hosts={hosts} />
    </>
  );
}
