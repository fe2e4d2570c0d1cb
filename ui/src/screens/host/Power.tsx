// The power of a host, switched beside the host itself: where that is done, what is said there, and the orders.
//
// What its controller says is asked for by hand only: each question is a call to another machine, and stands in the
// audit log.

import { Button, Card, CardBody, CardHeader, CardTitle, Label } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useRead } from '../../api/client';
import type { Host, HostMachinePower, MachinePower, PowerControlKind, PowerOrder } from '../../api/generated';
import { msg } from '../../i18n/msg';
import { useActs, type Act } from '../../parts/acts';
import { Facts } from '../../parts/Facts';
import { ErrorBox, Loading } from '../../parts/feedback';
import { VerbMenu, type Verb } from '../../parts/VerbMenu';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { PowerControlForm } from './PowerControlForm';

const CONTROL: Record<PowerControlKind, string> = { redfish: 'Redfish', ipmi: 'IPMI' };

const SAID: Record<MachinePower, { label: string; color: 'green' | 'grey' | 'orange' }> = {
  on: { label: msg('Powered on'), color: 'green' },
  off: { label: msg('Powered off'), color: 'grey' },
  unknown: { label: msg('On its way, or unknown'), color: 'orange' },
};

/** Only for those who may switch it: nobody else is told where that is done. */
export function PowerCard({ host }: { host: Host }) {
  const refused = mayNot(useUser(), 'host.power_control', { pool: host.pool });
  return refused ? null : <Power host={host} />;
}

function Power({ host }: { host: Host }) {
  const { t } = useTranslation();
  const { run } = useActs();
  const [told, setTold] = useState<MachinePower>();
  const [changing, setChanging] = useState(false);
  const read = useRead('host.power_control', { host: host.id });
  const control = read.data?.control;
  const hear = (answer: unknown) => answer && setTold((answer as HostMachinePower).power);
  const order = (order: PowerOrder, title: string): Act<'host.power'> => ({ method: 'host.power', params: { host: host.id, order }, title });
  const names = { name: host.name };
  const ask = order('status', t('Ask whether {{name}} is on', names));
  const on = order('on', t('Switch {{name}} on', names));
  const force = [{ field: 'force', label: t('Also while VMs run on it, or while nobody knows') }];
  const verbs: Verb[] = [
    { label: t('Ask whether it is on'), act: ask, go: () => void run(ask).then(hear) },
    { label: t('Switch on'), act: on, go: () => void run(on).then(hear) },
    {
      label: t('Switch off'),
      danger: true,
      act: order('off', t('Switch {{name}} off', names)),
      question: { text: t('Its power is cut at once. What its VMs and its system have not written is lost. It stays off until somebody switches it on.'), button: t('Switch off'), typeName: host.name, choices: force, done: hear },
    },
    {
      label: t('Off and on again'),
      danger: true,
      act: order('cycle', t('Switch {{name}} off and on again', names)),
      question: { text: t('Its power is cut at once. What its VMs and its system have not written is lost. Then it starts anew.'), button: t('Off and on again'), typeName: host.name, choices: force, done: hear },
    },
    { label: t('Change where'), go: () => setChanging(true) },
    {
      label: t('Take it away'),
      danger: true,
      act: { method: 'host.set_power_control', params: { host: host.id }, title: t('Switch the power of {{name}} no more', names) },
      question: { text: t('When the host dies, its VMs wait for its lease to run out before they run elsewhere.'), button: t('Take it away') },
    },
  ];
  return (
    <Card isCompact>
      <CardHeader actions={{ hasNoOffset: true, actions: control && <VerbMenu name={t('the power of {{name}}', names)} verbs={verbs} /> }}>
        <CardTitle component="h2">{t('Power control')}</CardTitle>
      </CardHeader>
      <CardBody>
        {read.isPending && <Loading lines={2} />}
        {read.isError && <ErrorBox error={read.error} retry={() => void read.refetch()} />}
        {read.data && !control && (
          <>
            <p className="x-dim">{t('Nobody knows where its power is switched: it is not switched on or off from here, and when it dies its VMs wait longer.')}</p>
            <Button variant="link" isInline onClick={() => setChanging(true)}>
              {t('Say where its power is switched')}
            </Button>
          </>
        )}
        {control && (
          <Facts
            facts={[
              [
                t('It is'),
                <span key="p" className="x-labels">
                  <span aria-live="polite">{told ? <Label isCompact variant="outline" color={SAID[told].color}>{t(SAID[told].label)}</Label> : t('not asked')}</span>
                  <Button variant="link" isInline onClick={() => void run(ask).then(hear)}>
                    {t('Ask')}
                  </Button>
                </span>,
              ],
              [t('By'), CONTROL[control.kind]],
              [t('Address'), <code key="a">{control.address}</code>],
              [t('Signs in as'), control.user],
              !!control.fingerprint && [t('Its certificate'), <code key="c" className="x-wrap">{control.fingerprint}</code>],
            ]}
          />
        )}
      </CardBody>
      {changing && <PowerControlForm host={host} known={control ?? undefined} close={() => setChanging(false)} />}
    </Card>
  );
}
