// The snapshots of a VM, as a tree: take one, go back to one, make a VM from one.

import { Label } from '@patternfly/react-core';
import SnapshotIcon from '@patternfly/react-icons/dist/esm/icons/camera-icon';
import { Table, Tbody, Td, Th, Thead, Tr, type ThProps } from '@patternfly/react-table';
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { Snapshot, Vm } from '../../api/generated';
import { msg } from '../../i18n/msg';
import { Ago } from '../../parts/Ago';
import { CreateButton } from '../../parts/CreateButton';
import { Failed, Loading, Nothing } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { VerbMenu, type Verb } from '../../parts/VerbMenu';
import { mayNot } from '../../rules/may';
import { vmCannotChange } from '../../rules/vm';
import { useUser } from '../../shell/user';
import { Stood } from '../backup/quiesce';
import { CloneSnapshot, TakeSnapshot } from './Dialogs';
import { tree, type Branch } from './tree';
import { useAll } from '../../list/all';

const RUNS = msg('Shut the VM down first: its disks are exchanged.');
const COMING = msg('It is being taken.');

export function VmSnapshots({ vm }: { vm: Vm }) {
  const { t } = useTranslation();
  const user = useUser();
  const format = useFormat();
  const [taking, setTaking] = useState(false);
  const [cloning, setCloning] = useState<Snapshot>();
  const read = useAll('snapshot.list', { vm: vm.id }, { enabled: vm.managed });
  const rows = useMemo(() => tree(read.data ?? []), [read.data]);
  const place = { pool: vm.pool, tags: vm.tags };
  const why = vmCannotChange(user, 'snapshot.create', vm, place);
  const diskless = !vm.spec?.disks?.some(({ access }) => access !== 'read-only');
  const take = <CreateButton secondary={rows.length > 0} label={t('Take a snapshot')} why={why ?? (diskless ? msg('It has no disk that it writes.') : undefined)} go={() => setTaking(true)} />;
  if (vm.managed && read.isPending) return <Loading lines={3} />;
  if (read.isError && !read.data) return <Failed error={read.error} retry={() => void read.refetch()} />;
  const verbs = (snapshot: Snapshot): Verb[] => {
    const coming = snapshot.paused_ms == null ? COMING : undefined;
    const stands = ['stopped', 'crashed'].includes(vm.power) ? undefined : RUNS;
    const alone = t('The disks of {{vm}} become what they were {{when}}. What they hold now is lost, unless you take a snapshot first. Its settings stay.', { vm: vm.name, when: format.ago(snapshot.created) });
    const goOn: Verb = {
      label: t('Go on from it'),
      why: why ?? coming ?? stands,
      act: { method: 'snapshot.revert', params: { snapshot: snapshot.id }, title: t('Go on from {{name}}', { name: snapshot.name }) },
      question: {
        text: t('{{vm}} runs again as it was {{when}}, with its memory and its disks of that instant. What the disks hold now is lost, unless you take a snapshot first.', { vm: vm.name, when: format.ago(snapshot.created) }),
        button: t('Go on from it'),
        typeName: vm.name,
      },
    };
    return [
      ...(snapshot.memory ? [goOn] : []),
      {
        label: snapshot.memory ? t('Go back to its disks') : t('Go back to it'),
        why: why ?? coming ?? stands,
        act: { method: 'snapshot.revert', params: { snapshot: snapshot.id, ...(snapshot.memory ? { disks_only: true } : {}) }, title: t('Go back to {{name}}', { name: snapshot.name }) },
        question: {
          text: alone,
          button: t('Go back'),
          typeName: vm.name,
        },
      },
      { label: t('Make a VM from it'), why: mayNot(user, 'snapshot.clone', place) ?? coming, go: () => setCloning(snapshot) },
      {
        label: t('Delete'),
        danger: true,
        why,
        act: { method: 'snapshot.delete', params: { snapshot: snapshot.id }, title: t('Delete the snapshot {{name}}', { name: snapshot.name }) },
        question: { text: t('The VM and its other snapshots stay as they are; nobody can go back to this one.'), button: t('Delete'), typeName: snapshot.name },
      },
    ];
  };
  return (
    <>
      {rows.length === 0 ? (
        <Nothing icon={SnapshotIcon} title={t('No snapshots')} action={take}>
          {t('A snapshot keeps one point in time, beside the disks. It is no backup: it is lost with its storage.')}
        </Nothing>
      ) : (
        <>
          <div className="x-head x-gap">
            <p className="x-dim">{t('Each hangs on the one that the VM came from when it was taken.')}</p>
            {take}
          </div>
          <Table variant="compact" role="treegrid" gridBreakPoint="" aria-label={t('Snapshots')} className="x-tree">
            <Thead>
              <Tr>
                <Th>{t('Name')}</Th>
                <Th width={20} visibility={ON_A_DESK}>{t('Taken')}</Th>
                <Th width={15} visibility={ON_A_DESK}>{t('The VM stood for')}</Th>
                <Th width={15} visibility={ON_A_DESK}>{t('Disks')}</Th>
                <Th screenReaderText={t('Actions')} />
              </Tr>
            </Thead>
            <Tbody>
              {rows.map((branch) => (
                <Row key={branch.snapshot.id} branch={branch} verbs={verbs(branch.snapshot)} />
              ))}
            </Tbody>
          </Table>
        </>
      )}
      {taking && <TakeSnapshot vm={vm} taken={rows.map(({ snapshot }) => snapshot.name)} close={() => setTaking(false)} />}
      {cloning && <CloneSnapshot snapshot={cloning} close={() => setCloning(undefined)} />}
    </>
  );
}

const ON_A_DESK: ThProps['visibility'] = ['hidden', 'visibleOnMd'];

function Row({ branch: { snapshot, level, lines, last }, verbs }: { branch: Branch; verbs: Verb[] }) {
  const { t } = useTranslation();
  const format = useFormat();
  const size = snapshot.disks.reduce((sum, disk) => sum + disk.size, 0);
  return (
    <Tr aria-level={level}>
      <Td dataLabel={t('Name')}>
        <div className="x-branch">
          {lines.map((line, index) => (
            <span key={index} aria-hidden className={line ? 'x-trunk x-trunk-on' : 'x-trunk'} />
          ))}
          {level > 1 && <span aria-hidden className={last ? 'x-twig x-twig-last' : 'x-twig'} />}
          <span>
            <span className="x-labels">
              <strong>{snapshot.name}</strong>
              {snapshot.memory && <Label isCompact>{snapshot.memory.kept ? t('with memory, {{size}}', { size: format.bytes(snapshot.memory.kept.bytes) }) : t('with memory')}</Label>}
              {snapshot.current && (
                <Label isCompact color="blue">
                  {t('the VM goes on from here')}
                </Label>
              )}
            </span>
            {snapshot.description && <span className="x-dim x-block">{snapshot.description}</span>}
            <Stood consistency={snapshot.consistency} because={snapshot.not_quiesced_because} />
            <span className="x-dim x-on-phone">
              <Ago at={snapshot.created} />
            </span>
          </span>
        </div>
      </Td>
      <Td dataLabel={t('Taken')} visibility={ON_A_DESK}>
        <Ago at={snapshot.created} />
      </Td>
      <Td dataLabel={t('The VM stood for')} visibility={ON_A_DESK}>
        {snapshot.paused_ms == null ? t('is being taken') : snapshot.paused_ms === 0 ? t('It did not run') : t('{{ms}} ms', { ms: format.number(snapshot.paused_ms) })}
      </Td>
      <Td dataLabel={t('Disks')} visibility={ON_A_DESK}>
        {format.number(snapshot.disks.length)} <span className="x-dim">· {format.bytes(size)}</span>
      </Td>
      <Td isActionCell>
        <VerbMenu name={snapshot.name} verbs={verbs} />
      </Td>
    </Tr>
  );
}
