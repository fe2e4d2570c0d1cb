// What the rules of a job keep of the backups that are there, and why: shown, not done.

import { Label } from '@patternfly/react-core';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useMemo } from 'react';
import { useTranslation } from 'react-i18next';
import { useRead } from '../../api/client';
import type { Backup, BackupJob } from '../../api/generated';
import { Ago } from '../../parts/Ago';
import { Failed, Loading, Nothing } from '../../parts/feedback';
import { ChoiceField } from '../../parts/fields';
import { useFormat } from '../../parts/format';
import { useUrlState } from '../../parts/url';
import { decide } from './retention';

/** Backups of one VM in one repository compete; others do not. */
function series(backups: Backup[], repositories: string[]): Map<string, Backup[]> {
  const found = new Map<string, Backup[]>();
  for (const backup of backups.filter(({ repository }) => repositories.includes(repository))) {
    const key = `${backup.vm_name} · ${backup.repository_name}`;
    found.set(key, [...(found.get(key) ?? []), backup]);
  }
  return new Map([...found].sort(([a], [b]) => a.localeCompare(b)));
}

export function Retention({ job }: { job: BackupJob }) {
  const { t } = useTranslation();
  const format = useFormat();
  const [chosen, choose] = useUrlState('of');
  const read = useRead('backup.list', { limit: 1000 });
  const all = useMemo(() => series(read.data?.items ?? [], job.repositories), [read.data, job.repositories]);
  if (read.isPending) return <Loading lines={4} />;
  if (read.isError) return <Failed error={read.error} retry={() => void read.refetch()} />;
  const names = [...all.keys()];
  const shown = chosen && all.has(chosen) ? chosen : names[0];
  if (!shown) return <Nothing title={t('No backups in its repositories yet')}>{t('Run the job once: what its rules would keep is shown here then.')}</Nothing>;
  const kept = decide(all.get(shown) ?? [], job.keep ?? {});
  const goes = kept.filter(({ because }) => because.length === 0).length;
  return (
    <div className="x-stack">
      <div className="x-narrow">
        <ChoiceField id="retention-of" label={t('VM and repository')} value={shown} set={choose} options={names.map((name) => [name, name])} />
      </div>
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
    </div>
  );
}
