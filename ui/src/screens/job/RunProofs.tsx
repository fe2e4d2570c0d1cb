// The proofs after a run, VM by VM.

import { Label } from '@patternfly/react-core';
import CheckIcon from '@patternfly/react-icons/dist/esm/icons/check-icon';
import ExclamationIcon from '@patternfly/react-icons/dist/esm/icons/exclamation-circle-icon';
import PendingIcon from '@patternfly/react-icons/dist/esm/icons/pending-icon';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import type { BackupProof, RunProof } from '../../api/generated';
import { useFormat } from '../../parts/format';

export function ProofLabel({ proof }: { proof?: BackupProof | null }) {
  const { t } = useTranslation();
  if (!proof) {
    return (
      <Label isCompact variant="outline" color="grey" icon={<PendingIcon />}>
        {t('no verdict')}
      </Label>
    );
  }
  return (
    <Label isCompact variant="outline" color={proof.answered ? 'green' : 'red'} icon={proof.answered ? <CheckIcon /> : <ExclamationIcon />}>
      {proof.answered ? t('proved') : t('not proved')}
    </Label>
  );
}

export function RunProofs({ proofs }: { proofs: RunProof[] }) {
  const { t } = useTranslation();
  const format = useFormat();
  return (
    <Table variant="compact" aria-label={t('Proofs')}>
      <Thead>
        <Tr>
          <Th>{t('VM')}</Th>
          <Th width={15}>{t('Proof')}</Th>
          <Th>{t('When')}</Th>
          <Th>{t('Took')}</Th>
          <Th>{t('What it said')}</Th>
        </Tr>
      </Thead>
      <Tbody>
        {proofs.map(({ vm, name, task, message, proof }) => (
          <Tr key={vm}>
            <Td dataLabel={t('VM')}>
              <Link to={`/vms/${vm}/backups`}>{name}</Link>
            </Td>
            <Td dataLabel={t('Proof')}>
              <ProofLabel proof={proof} />
            </Td>
            <Td dataLabel={t('When')}>{format.date(proof?.at)}</Td>
            <Td dataLabel={t('Took')}>{proof ? format.duration(proof.seconds) : '—'}</Td>
            <Td dataLabel={t('What it said')}>
              <span className={proof?.answered ? 'x-wrap' : 'x-bad x-wrap'}>{proof?.said ?? message}</span>
              {task && (
                <span className="x-block">
                  <Link to={`/tasks/${task}`}>{t('Show the task')}</Link>
                </span>
              )}
            </Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}
