// What the VM is, what it does now, what its guest says.

import { Card, CardBody, CardHeader, CardTitle } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import type { Platform, Vm } from '../../api/generated';
import { Facts } from '../../parts/Facts';
import { useFormat } from '../../parts/format';
import { Id } from '../../parts/Id';
import { useNames } from '../../parts/names';
import { WhyButton } from '../../parts/WhyButton';
import { vmCannotChange } from '../../rules/vm';
import { useUser } from '../../shell/user';
import { CompanyCard } from './Company';
import { EditVm } from './EditVm';
import { HardwareCard, KeptCard } from './HardwareCard';
import { PRIORITY, usePriority } from './Priority';

function boot(platform: Platform, t: (text: string) => string): string {
  if (platform.kind !== 'hvm') return platform.boot.kernel;
  const order = platform.boot_order?.length ? platform.boot_order.join(', ') : t('disk, then CD');
  return `${(platform.firmware ?? 'bios').toUpperCase()} · ${order}`;
}

export function VmSummary({ vm }: { vm: Vm }) {
  const { t } = useTranslation();
  const user = useUser();
  const format = useFormat();
  const names = useNames();
  const [editing, setEditing] = useState(false);
  const { spec, observed } = vm;
  const restarts = usePriority(vm);
  const why = vmCannotChange(user, 'vm.update', vm, { pool: vm.pool, tags: vm.tags });
  const on = { restart: t('start it again'), stop: t('leave it off'), preserve: t('keep it for a look inside') };
  return (
    <div className="x-cards">
      <Card isCompact>
        <CardTitle component="h2">{t('Now')}</CardTitle>
        <CardBody>
          <Facts
            facts={[
              [t('Host'), vm.host && <Link to={`/hosts/${vm.host}`}>{names.host(vm.host)}</Link>],
              [t('Pool'), names.pool(vm.pool)],
              [t('Started'), observed?.started && <time dateTime={observed.started} title={format.date(observed.started)}>{format.ago(observed.started)}</time>],
              [t('CPU time'), observed && format.duration(observed.cpu_time_ns / 1e9)],
              [t('Memory'), observed && format.mib(observed.memory)],
              [t('vCPUs'), observed?.vcpus_online],
              !!observed?.cpu_given && [t('CPU features'), <Id key="f" id={observed.cpu_given} />],
              [t('Xen domain'), observed?.domid ?? undefined],
              [t('Created'), format.date(vm.created)],
              [t('Id'), <Id key="id" id={vm.id} />],
            ]}
          />
        </CardBody>
      </Card>
      <Card isCompact>
        <CardTitle component="h2">{t('Guest')}</CardTitle>
        <CardBody>
          {observed?.guest.os || observed?.guest.addresses.length || observed?.guest.pv_drivers ? (
            <Facts
              facts={[
                [t('Operating system'), observed.guest.os],
                [t('Addresses'), observed.guest.addresses.join(', ')],
                [t('Drivers'), observed.guest.pv_drivers],
                [t('Memory free'), observed.guest.memory_free != null ? format.mib(observed.guest.memory_free) : undefined],
              ]}
            />
          ) : (
            <p className="x-dim">{t('The guest says nothing of itself. With xe-guest-utilities in it, its system and addresses appear here.')}</p>
          )}
        </CardBody>
      </Card>
      <Card isCompact>
        <CardHeader
          actions={{
            hasNoOffset: true,
            actions: (
              <WhyButton variant="link" isInline aria-label={t('Change: {{what}}', { what: t('Definition') })} why={why} go={() => setEditing(true)}>
                {t('Change')}
              </WhyButton>
            ),
          }}
        >
          <CardTitle component="h2">{t('Definition')}</CardTitle>
        </CardHeader>
        <CardBody>
          {spec ? (
            <Facts
              facts={[
                [t('Kind'), spec.platform.kind.toUpperCase()],
                [t('Starts from'), boot(spec.platform, t)],
                spec.platform.kind !== 'hvm' && [t('Kernel command line'), spec.platform.boot.cmdline],
                [t('vCPUs'), spec.vcpus.max > spec.vcpus.online ? t('{{now}}, up to {{max}}', { now: spec.vcpus.online, max: spec.vcpus.max }) : spec.vcpus.online],
                [
                  t('Memory'),
                  spec.memory.max > spec.memory.target
                    ? t('{{now}}, up to {{max}}', { now: format.mib(spec.memory.target), max: format.mib(spec.memory.max) })
                    : format.mib(spec.memory.target),
                ],
                [t('Display'), spec.graphics === 'vnc' ? 'VNC' : t('none')],
                [t('After a crash'), on[spec.on_crash ?? 'restart']],
                [t('After a reboot'), on[spec.on_reboot ?? 'restart']],
                !!restarts.on && [t('After its host died'), restarts.priority && t(PRIORITY[restarts.priority])],
                [t('With the host'), spec.autostart ? t('starts, order {{order}}', { order: spec.autostart.order }) : t('does not start')],
              ]}
            />
          ) : (
            <p className="x-dim">{t('There is no definition: Xenith did not make it.')}</p>
          )}
        </CardBody>
      </Card>
      {spec && <HardwareCard vm={vm} spec={spec} why={why} />}
      {vm.managed && <KeptCard vm={vm} why={why} />}
      {vm.managed && <CompanyCard vm={vm} why={why} />}
      {editing && spec && <EditVm vm={vm} spec={spec} close={() => setEditing(false)} />}
    </div>
  );
}
