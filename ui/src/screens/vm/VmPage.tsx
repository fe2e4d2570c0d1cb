// One VM: what it is and does, its disks, snapshots and NICs, its tasks, who may do what.

import { Label, PageSection } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useNavigate, useParams } from 'react-router';
import { refresh, there, useFollow, useRead } from '../../api/client';
import type { Vm } from '../../api/generated';
import { VmConsole } from '../../console/VmConsole';
import { msg } from '../../i18n/msg';
import { Alert } from '../../parts/Alert';
import { Failed, Loading } from '../../parts/feedback';
import { useNames } from '../../parts/names';
import { PageHead } from '../../parts/PageHead';
import { Parts } from '../../parts/Parts';
import { PowerLabel, Tags } from '../../parts/state';
import type { Verb } from '../../parts/VerbMenu';
import { vmCannotChange, vmCannotMove } from '../../rules/vm';
import { useUser } from '../../shell/user';
import { VmSnapshots } from '../snapshot/VmSnapshots';
import { VmBackups } from '../backup/VmBackups';
import { EventsOf } from '../event/EventsOf';
import { Metrics } from '../metrics/Metrics';
import { TaskList } from '../task/TaskList';
import { TemplateFromVm } from '../template/dialogs';
import { AlarmsOf } from '../alarm/AlarmCard';
import { Access } from './Access';
import { CloneVm, InsertCd } from './dialogs';
import { MoveVm } from './MoveVm';
import { SetPriority, usePriority } from './Priority';
import { VmDisks } from './VmDisks';
import { VmNics } from './VmNics';
import { VmMenu } from './VmMenu';
import { VmQuick } from './VmQuick';
import { VmSummary } from './VmSummary';

export default function VmPage() {
  const { t } = useTranslation();
  const { vm: reference = '', tab = 'summary' } = useParams();
  const navigate = useNavigate();
  const names = useNames();
  const user = useUser();
  const [form, setForm] = useState<'clone' | 'cd' | 'move' | 'template' | 'priority'>();
  const read = useRead('vm.get', { vm: reference });
  const vm = there(read);
  const { on: restarts } = usePriority(vm ?? { id: '', pool: '', managed: false });
  useFollow('vm.subscribe', { filter: `id:${vm?.id ?? reference}`, only_changes: true }, () => refresh('vm'), { enabled: !!vm, started: () => refresh('vm') });
  if (read.isPending) return <Loading />;
  if (!vm) return <Failed error={read.error} up={['/vms', t('Virtual machines')]} retry={() => void read.refetch()} />;
  const place = { pool: vm.pool, tags: vm.tags };
  const cannotKeep = vmCannotChange(user, 'template.create', vm, place);
  const cannotOperate = vmCannotChange(user, 'vm.insert_cd', vm, place);
  const drive = vm.spec?.hardware?.cd;
  const more: Verb[] = [
    { label: t('Clone'), why: vmCannotChange(user, 'vm.clone', vm, place), go: () => setForm('clone') },
    { label: t('Move'), why: vmCannotMove(user, vm, place), go: () => setForm('move'), note: t('To another host, as it runs or off.') },
    { label: t('Make a standby'), why: vmCannotChange(user, 'standby.create', vm, place), go: () => void navigate(`/standbys/new?vm=${vm.id}`), note: t('A VM elsewhere that can take over.') },
    { label: t('After its host died'), why: vmCannotChange(user, 'ha.set_priority', vm, place) ?? (restarts === false ? msg('High availability of its pool is off.') : undefined), go: () => setForm('priority'), note: t('When it runs elsewhere, or that it waits.') },
    { label: t('Make a template of it'), why: cannotKeep, go: () => setForm('template') },
    ...(drive ? [{ label: t('Insert a CD'), why: cannotOperate, go: () => setForm('cd') }] : []),
    ...(drive?.vdi ? [{ label: t('Eject the CD'), why: cannotOperate, act: { method: 'vm.eject_cd' as const, params: { vm: vm.id }, title: t('Eject the CD of {{name}}', { name: vm.name }), undo: { method: 'vm.insert_cd' as const, params: { vm: vm.id, iso: drive.vdi } } } }] : []),
  ];
  const closeForm = () => setForm(undefined);
  const tabs: [string, string, React.ReactNode][] = [
    ['summary', t('Summary'), <VmSummary key="summary" vm={vm} />],
    ['console', t('Console'), <VmConsole key="console" vm={vm} />],
    ['metrics', t('Metrics'), <Metrics key="metrics" of="vm" id={vm.id} name={vm.name} />],
    ['disks', t('Disks'), <VmDisks key="disks" vm={vm} />],
    ['snapshots', t('Snapshots'), <VmSnapshots key="snapshots" vm={vm} />],
    ['backups', t('Backups'), <VmBackups key="backups" vm={vm} />],
    ['nics', t('NICs'), <VmNics key="nics" vm={vm} />],
    ['tasks', t('Tasks'), <TaskList key="tasks" vm={vm.id} />],
    ['events', t('Events'), <EventsOf key="events" subject={`vm/${vm.id}`} />],
    ['access', t('Access'), <Access key="access" vm={vm} />],
  ];
  const address = (key: string) => (key === 'summary' ? `/vms/${vm.id}` : `/vms/${vm.id}/${key}`);
  const shown = tabs.find(([key]) => key === tab) ?? tabs[0];
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <PageHead
        up={['/vms', t('Virtual machines')]}
        title={vm.name}
        labels={
          <>
            <PowerLabel power={vm.power} />
            {!vm.managed && <Label isCompact>{t('Unmanaged')}</Label>}
          </>
        }
        below={
          <>
            {vm.host && <Link to={`/hosts/${vm.host}`}>{names.host(vm.host)}</Link>}
            {vm.description && <span>{vm.description}</span>}
            {vm.tags.length > 0 && <Tags tags={vm.tags} />}
          </>
        }
        actions={
          <>
            <VmQuick vm={vm} place={place} />
            <VmMenu vm={vm} place={place} labelled deleted={() => void navigate('/vms')} more={more} />
          </>
        }
      />
      <Warnings vm={vm} />
      <AlarmsOf of="vm" id={vm.id} name={vm.name} />
      <Parts of="vm" label={t('Parts of the VM')} parts={tabs} shown={shown?.[0] ?? 'summary'} address={address} go={(key) => void navigate(address(key), { replace: true })}>
        {shown?.[2]}
      </Parts>
      {form === 'template' && <TemplateFromVm vm={vm} close={closeForm} />}
      {form === 'clone' && <CloneVm vm={vm} close={closeForm} />}
      {form === 'move' && <MoveVm vm={vm} close={closeForm} />}
      {form === 'priority' && <SetPriority vm={vm} close={closeForm} />}
      {form === 'cd' && <InsertCd vm={vm} close={closeForm} />}
    </PageSection>
  );
}

function Warnings({ vm }: { vm: Vm }) {
  const { t } = useTranslation();
  const failure = vm.observed?.failure;
  return (
    <>
      {vm.power === 'unknown' && (
        <Alert isInline variant="warning" title={t('Its host is not heard')}>
          {t('What is shown is what was known last. The VM may well run: it needs neither us nor the network to us.')}
        </Alert>
      )}
      {vm.standby_of && (
        <Alert isInline variant="info" title={t('It stands by for another VM')}>
          {t('It follows that one’s backups and is not started or changed.')} <Link to={`/standbys/${vm.id}`}>{t('What it holds, and what to do with it')}</Link>
        </Alert>
      )}
      {vm.pending_restart.length > 0 && (
        <Alert isInline variant="info" title={t('Waits for the next start: {{what}}', { what: vm.pending_restart.join(', ') })} />
      )}
      {failure && <Alert isInline variant="danger" title={t('It failed last: {{why}}', { why: failure.message })} />}
      {!vm.managed && (
        <Alert isInline variant="info" title={t('Xenith did not make this domain')}>
          {t('It is shown so that nothing on the host is hidden, and never touched.')}
        </Alert>
      )}
    </>
  );
}
