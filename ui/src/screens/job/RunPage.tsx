// One run: how far it is, what it read and stored, VM by VM.

import { Card, CardBody, CardTitle, PageSection, Progress } from '@patternfly/react-core';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useTranslation } from 'react-i18next';
import { Link, useParams } from 'react-router';
import { there, useRead } from '../../api/client';
import type { BackupRun, RunVm } from '../../api/generated';
import { FALLBACK_MS } from '../../live/again';
import { useTasks } from '../../live/tasks';
import { Alert } from '../../parts/Alert';
import { Facts } from '../../parts/Facts';
import { Failed, Loading } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { PageHead } from '../../parts/PageHead';
import { VerbMenu } from '../../parts/VerbMenu';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { RunProofs } from './RunProofs';
import { CONSISTENCY, Stood } from '../backup/quiesce';
import { counts, ofRun, RunLabel, runOver, saved, speed } from '../backup/words';

export default function RunPage() {
  const { t } = useTranslation();
  const user = useUser();
  const format = useFormat();
  const { run: id = '' } = useParams();
  const read = useRead('backup_run.get', { run: id }, { every: FALLBACK_MS });
  const run = there(read);
  if (read.isPending) return <Loading />;
  if (!run) return <Failed error={read.error} up={['/runs', t('Backup runs')]} retry={() => void read.refetch()} />;
  const { over, failed, all } = counts(run.vms);
  const busy = !runOver(run.status);
  const cancel = {
    label: t('Cancel'),
    danger: true,
    why: mayNot(user, 'backup_run.cancel'),
    act: { method: 'backup_run.cancel' as const, params: { run: run.id }, title: t('Cancel the run of {{name}}', { name: run.job_name }) },
    question: { text: t('VMs that wait are left out, those being read are given up on. What is stored already is not stored again next time.'), button: t('Cancel the run') },
  };
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <PageHead
        up={['/runs', t('Backup runs')]}
        title={`${run.job_name}, ${format.stamp(run.started)}`}
        labels={<RunLabel status={run.status} />}
        below={<Link to={`/jobs/${run.job}`}>{run.job_name}</Link>}
        actions={busy && <VerbMenu labelled name={run.job_name} verbs={[cancel]} />}
      />
      {busy && <Progress aria-label={run.job_name} value={all ? (over / all) * 100 : 0} label={t('{{done}} of {{total}}', { done: over, total: all })} />}
      {failed > 0 && <Alert isInline variant="danger" title={t('{{count}} VMs were not backed up', { count: failed })}>{t('Each says why below. The next run tries them again.')}</Alert>}
      {run.cancelled_by && <Alert isInline variant="warning" title={t('Ended early by {{who}}', { who: run.cancelled_by })} />}
      {run.notes?.map((note) => <Alert key={note} isInline variant="info" title={note} />)}
      <Sums run={run} />
      <Vms run={run} />
      {!!run.proofs?.length && <RunProofs proofs={run.proofs} />}
    </PageSection>
  );
}

function Sums({ run }: { run: BackupRun }) {
  const { t } = useTranslation();
  const format = useFormat();
  const all = ofRun(run);
  const less = saved(all);
  const rate = speed(all);
  const seconds = ((run.ended ? new Date(run.ended).getTime() : Date.now()) - new Date(run.started).getTime()) / 1000;
  return (
    <div className="x-cards">
      <Card isCompact>
        <CardTitle component="h2">{t('What it moved')}</CardTitle>
        <CardBody>
          <Facts
            facts={[
              [t('All disks'), format.bytes(all.size)],
              [t('Read'), format.bytes(all.read)],
              [t('New'), format.bytes(all.new_bytes)],
              [t('Stored'), format.bytes(all.stored)],
              [t('Saved'), less === undefined ? undefined : t('{{percent}} of all that the disks hold', { percent: format.percent(less) })],
              [t('Speed'), rate && t('{{size}}/s', { size: format.bytes(rate) })],
            ]}
          />
        </CardBody>
      </Card>
      <Card isCompact>
        <CardTitle component="h2">{t('About it')}</CardTitle>
        <CardBody>
          <Facts facts={[[t('Begun'), format.date(run.started)], [t('Ended'), format.date(run.ended)], [t('Took'), format.duration(seconds)], [t('VMs'), format.number(run.vms.length)], runOver(run.status) && !!run.consistency && [t('Guests’ disks'), t(CONSISTENCY[run.consistency])]]} />
        </CardBody>
      </Card>
    </div>
  );
}

function Vms({ run }: { run: BackupRun }) {
  const { t } = useTranslation();
  const format = useFormat();
  return (
    <Table variant="compact" aria-label={t('VMs')}>
      <Thead>
        <Tr>
          <Th>{t('VM')}</Th>
          <Th width={15}>{t('State')}</Th>
          <Th>{t('Read')}</Th>
          <Th>{t('New')}</Th>
          <Th>{t('Stored')}</Th>
          <Th>{t('Speed')}</Th>
          <Th>{t('Message')}</Th>
        </Tr>
      </Thead>
      <Tbody>
        {run.vms.map((vm) => (
          <Tr key={vm.vm}>
            <Td dataLabel={t('VM')}>
              <Link to={`/vms/${vm.vm}/backups`}>{vm.name}</Link>
            </Td>
            <Td dataLabel={t('State')}>
              <State vm={vm} />
            </Td>
            <Td dataLabel={t('Read')}>{format.bytes(vm.read ?? 0)}</Td>
            <Td dataLabel={t('New')}>{format.bytes(vm.new_bytes ?? 0)}</Td>
            <Td dataLabel={t('Stored')}>{format.bytes(vm.stored ?? 0)}</Td>
            <Td dataLabel={t('Speed')}>{speed({ read: vm.read ?? 0, millis: vm.millis ?? 0 }) ? t('{{size}}/s', { size: format.bytes(speed({ read: vm.read ?? 0, millis: vm.millis ?? 0 }) ?? 0) }) : '—'}</Td>
            <Td dataLabel={t('Message')}>
              {vm.message && <span className={vm.status === 'failed' ? 'x-bad x-wrap' : 'x-wrap'}>{vm.message}</span>}
              <Stood consistency={vm.consistency} because={vm.not_quiesced_because} />
              {vm.whole_because?.map((why) => (
                <span key={why} className="x-dim x-block">
                  {t('Read whole: {{why}}', { why })}
                </span>
              ))}
              {vm.task && (
                <span className="x-block">
                  <Link to={`/tasks/${vm.task}`}>{t('Show the task')}</Link>
                </span>
              )}
            </Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}

/** While its task runs, how far that is. */
function State({ vm }: { vm: RunVm }) {
  const task = useTasks().find(({ id }) => id === vm.task);
  if (vm.status === 'running' && task) return <Progress size="sm" measureLocation="outside" aria-label={vm.name} value={task.percent} />;
  return <RunLabel status={vm.status} />;
}
