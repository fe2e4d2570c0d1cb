// What the rules of a job keep of the backups that are there, and why: shown, not done.

import { FormGroup, Label } from '@patternfly/react-core';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useMemo } from 'react';
import { useTranslation } from 'react-i18next';
import { useRead } from '../../api/client';
import type { Backup, BackupJob } from '../../api/generated';
import { useAll } from '../../list/all';
import { quoted } from '../../list/filter';
import { QueryBar } from '../../list/QueryBar';
import { Ago } from '../../parts/Ago';
import { Failed, Loading, Nothing } from '../../parts/feedback';
import { ChoiceField, Help } from '../../parts/fields';
import { useFormat } from '../../parts/format';
import { useUrlState } from '../../parts/url';
import { decide } from './retention';

/** Backups of one VM in one repository compete; others do not. */
interface Series {
  label: string;
  name: string;
  /** Backups of the orchestrator itself, and those that others have made, are of none: their name is a disk's. */
  ofVm: boolean;
  repository: string;
}

/** Of which VMs and repositories these backups are. */
function seriesOf(backups: Backup[], repositories: string[]): Series[] {
  const found = new Map<string, Series>();
  for (const { vm, vm_name: name, repository, repository_name } of backups.filter(({ repository }) => repositories.includes(repository))) {
    const label = `${name} · ${repository_name}`;
    found.set(label, { label, name, ofVm: !!vm, repository });
  }
  return [...found.values()].sort((a, b) => a.label.localeCompare(b.label));
}

/** So many are read to know which VMs there are; of the one that is looked at, all are. */
const MOST = 1000;

export function Retention({ job }: { job: BackupJob }) {
  const { t } = useTranslation();
  const [chosen, choose] = useUrlState('of');
  const [find, setFind] = useUrlState('find');
  const read = useRead('backup.list', { filter: find ? `vm:${quoted(find)}` : '', limit: MOST });
  const all = useMemo(() => seriesOf(read.data?.items ?? [], job.repositories), [read.data, job.repositories]);
  if (read.isPending && !find) return <Loading lines={4} />;
  if (read.isError && !read.data) return <Failed error={read.error} retry={() => void read.refetch()} />;
  const shown = all.find(({ label }) => label === chosen) ?? all[0];
  const more = !!find || (read.data?.total ?? 0) > MOST;
  if (!shown && !more) return <Nothing title={t('No backups in its repositories yet')}>{t('Run the job once: what its rules would keep is shown here then.')}</Nothing>;
  return (
    <div className="x-stack">
      <div className="x-narrow x-stack">
        {more && (
          <FormGroup label={t('Find a VM')}>
            <QueryBar value={find ?? ''} set={setFind} label={t('Find a VM')} placeholder={t('A part of the name')} />
            <Help>{t('Listed are the VMs of the newest backups; others are found by their name.')}</Help>
          </FormGroup>
        )}
        {shown && <ChoiceField id="retention-of" label={t('VM and repository')} value={shown.label} set={choose} options={all.map(({ label }) => [label, label])} />}
      </div>
      {shown ? <Keeps key={shown.label} series={shown} job={job} /> : read.isPending ? <Loading lines={4} /> : <p className="x-dim">{t('Nothing matches')}</p>}
    </div>
  );
}

function Keeps({ series, job }: { series: Series; job: BackupJob }) {
  const { t } = useTranslation();
  const format = useFormat();
  const { name, ofVm, repository } = series;
  const read = useAll('backup.list', ofVm ? { vm: name, repository } : { filter: `vm:${quoted(name)}`, repository });
  if (read.isPending) return <Loading lines={4} />;
  if (!read.data) return <Failed error={read.error} retry={() => void read.refetch()} />;
  // The filter finds parts of names, and VMs too.
  const own = ofVm ? read.data : read.data.filter(({ vm, vm_name }) => !vm && vm_name === name);
  const kept = decide(own, job.keep ?? {});
  const goes = kept.filter(({ because }) => because.length === 0).length;
  return (
    <>
      <p className="x-dim">{t('The rules keep {{kept}} of {{all}}; the others go at the next run. Nothing is done from here.', { kept: kept.length - goes, all: kept.length })}</p>
      <Table variant="compact" aria-label={t('What it keeps')}>
        <Thead>
          <Tr>
            <Th width={30}>{t('Made')}</Th>
            <Th width={20}>{t('Age')}</Th>
            <Th>{t('Kept because')}</Th>
          </Tr>
        </Thead>
        <Tbody>
          {kept.map(({ created, because }) => (
            <Tr key={created}>
              <Td dataLabel={t('Made')}>{format.date(created)}</Td>
              <Td dataLabel={t('Age')}>
                <Ago at={created} />
              </Td>
              <Td dataLabel={t('Kept because')}>
                {because.length === 0 ? (
                  <Label isCompact color="orange">
                    {t('goes')}
                  </Label>
                ) : (
                  because.map(({ rule, number }) => (number ? `${t(rule)} ${number}` : t(rule))).join(', ')
                )}
              </Td>
            </Tr>
          ))}
        </Tbody>
      </Table>
    </>
  );
}
