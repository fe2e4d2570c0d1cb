// Another management interface for a host. A wrong one cuts the host off: it is asked what would come of it first, and
// the host goes back by itself when it is not heard.

import { Button } from '@patternfly/react-core';
import { useEffect, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { usePlan } from '../../api/client';
import type { BondChoice, Host, HostManagement } from '../../api/generated';
import { Alert } from '../../parts/Alert';
import { Facts } from '../../parts/Facts';
import { ErrorBox, Loading } from '../../parts/feedback';
import { ChoiceField, TextField } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';
import { managementParams, managementProblems, NO_CHANGE, type ManagementDraft } from './managed';

interface Plan {
  now: string;
  then: string;
  agent_address: string;
  goes_back_unless_heard_within_s: number;
}

export function Management({ host, close }: { host: Host; close: () => void }) {
  const { t } = useTranslation();
  const [draft, setDraft] = useState<ManagementDraft>(NO_CHANGE);
  // What was looked at: only that can be done.
  const [looked, setLooked] = useState<string>();
  const [fine, setFine] = useState(false);
  const set = (field: keyof ManagementDraft) => (value: string) => {
    setDraft((before) => ({ ...before, [field]: value }));
    setLooked(undefined);
    setFine(false);
  };
  const problems = managementProblems(draft);
  const params = managementParams(host.id, draft);
  const filled = Object.keys(params).length > 1 && Object.keys(problems).length === 0;
  const wrong = (field: keyof ManagementDraft) => problems[field] && t(problems[field]);
  return (
    <FormDialog
      act={{ method: 'host.set_management', params, title: t('Change the management interface of {{name}}', { name: host.name }) }}
      button={t('Change')}
      ready={filled && fine}
      waits={filled ? t('Look first at what would come of it.') : t('Nothing is changed yet.')}
      close={close}
      wide
      about={t('What is empty stays. The host goes back to what it has now by itself when it is not heard over the new one within a minute.')}
    >
      <TextField id="management-address" label={t('Address')} value={draft.address} set={set('address')} autoFocus placeholder="192.0.2.10/24" wrong={wrong('address')} help={t('dhcp, or an address with its network.')} />
      <TextField id="management-gateway" label={t('Gateway')} value={draft.gateway} set={set('gateway')} placeholder="192.0.2.1" wrong={wrong('gateway')} />
      <TextField id="management-dns" label={t('Name servers')} value={draft.dns} set={set('dns')} placeholder="192.0.2.53, 192.0.2.54" wrong={wrong('dns')} help={t('All of them.')} />
      <TextField id="management-vlan" label={t('VLAN')} value={draft.vlan} set={set('vlan')} wrong={wrong('vlan')} />
      <ChoiceField
        id="management-bond"
        label={t('Several network cards')}
        value={draft.bond}
        set={(bond) => set('bond')(bond as BondChoice | '')}
        none={t('As it is')}
        options={[
          ['none', t('No bond')],
          ['active-backup', t('One works, the others wait (active-backup)')],
          ['lacp', t('All work (LACP, which the switch has to speak)')],
        ]}
      />
      <TextField id="management-interfaces" label={t('Network cards below it')} value={draft.interfaces} set={set('interfaces')} placeholder="eth0, eth1" wrong={wrong('interfaces')} />
      <TextField id="management-agent" label={t('Where its agent is reached afterwards')} value={draft.agent} set={set('agent')} placeholder={host.address} wrong={wrong('agent')} help={t('Empty: a name stays, and an address that was this interface’s follows.')} />
      <div>
        <Button variant="secondary" isDisabled={!filled} onClick={() => setLooked(JSON.stringify(params))}>
          {t('See what would come of it')}
        </Button>
      </div>
      {looked && <Outcome params={JSON.parse(looked) as HostManagement} fine={setFine} />}
    </FormDialog>
  );
}

function Outcome({ params, fine }: { params: HostManagement; fine(fine: boolean): void }) {
  const { t } = useTranslation();
  const read = usePlan<Plan>('host.set_management', params);
  const can = read.isSuccess;
  useEffect(() => fine(can), [fine, can]);
  if (read.isPending) return <Loading lines={3} />;
  if (read.isError) return <ErrorBox error={read.error} title={t('It would be refused')} />;
  const { now, then, agent_address: agent, goes_back_unless_heard_within_s: seconds } = read.data.plan;
  return (
    <Alert isInline variant="warning" title={t('For up to two minutes nobody may hear the host')}>
      <Facts
        facts={[
          [t('Now'), <code key="n">{now}</code>],
          [t('Then'), <code key="t">{then}</code>],
          [t('Its agent'), <code key="a">{agent}</code>],
          [t('Goes back'), t('unless it is heard within {{seconds}} s', { seconds })],
        ]}
      />
    </Alert>
  );
}
