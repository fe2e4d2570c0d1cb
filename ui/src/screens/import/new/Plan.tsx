// What speaks against each VM's move, and what should be known; then they begin, with a result for each.

import { Label, List, ListItem } from '@patternfly/react-core';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import { useRead } from '../../../api/client';
import type { ImportFinding, VmAssessment } from '../../../api/generated';
import { msg } from '../../../i18n/msg';
import { Alert } from '../../../parts/Alert';
import { ErrorBox, Loading } from '../../../parts/feedback';
import { useFormat } from '../../../parts/format';
import type { StepProps } from './NewImport';
import { Waves } from './Waves';

export interface Begun {
  import?: string;
  error?: string;
}

const WEIGHT: Record<string, { label: string; color: 'red' | 'orange' | 'blue' }> = {
  blocks: { label: msg('Blocks'), color: 'red' },
  attention: { label: msg('Look at it'), color: 'orange' },
  note: { label: msg('Note'), color: 'blue' },
};
const ORDER = ['blocks', 'attention', 'note'];

interface Props extends StepProps {
  begun?: Record<string, Begun>;
}

export function Plan({ draft, begun }: Props) {
  const { t } = useTranslation();
  const format = useFormat();
  const read = useRead('import.assess', { source: draft.source, vms: draft.vms.map(({ id }) => id) });
  if (read.isPending) return <Loading />;
  if (read.isError) return <ErrorBox error={read.error} retry={() => void read.refetch()} />;
  const blocked = read.data.filter(({ movable }) => !movable).length;
  return (
    <>
      {blocked > 0 ? (
        <Alert isInline variant="warning" className="x-gap" title={t('{{count}} VMs cannot be moved as they are', { count: blocked })}>
          {t('They are left out. Put right what is said below and begin them again.')}
        </Alert>
      ) : (
        <Alert isInline variant="success" className="x-gap" title={t('Nothing speaks against their move')} />
      )}
      <Table variant="compact" aria-label={t('The plan')}>
        <Thead>
          <Tr>
            <Th width={20}>{t('Name')}</Th>
            <Th width={15}>{t('To move')}</Th>
            <Th>{t('Found')}</Th>
            <Th width={20}>{begun ? t('Result') : t('Plan')}</Th>
          </Tr>
        </Thead>
        <Tbody>
          {read.data.map((vm) => (
            <Tr key={vm.id}>
              <Td dataLabel={t('Name')}>{vm.name}</Td>
              <Td dataLabel={t('To move')}>
                {format.mib(vm.transfer_mib)}
                <span className="x-dim x-block">{vm.method}</span>
              </Td>
              <Td dataLabel={t('Found')}>
                <Findings findings={vm.findings} />
              </Td>
              <Td dataLabel={t('Result')}>
                <Outcome vm={vm} begun={begun} />
              </Td>
            </Tr>
          ))}
        </Tbody>
      </Table>
      {!begun && draft.vms.length > 1 && <Waves draft={draft} />}
    </>
  );
}

function Findings({ findings }: { findings: ImportFinding[] }) {
  const { t } = useTranslation();
  if (findings.length === 0) return <span className="x-dim">{t('nothing')}</span>;
  const sorted = [...findings].sort((a, b) => ORDER.indexOf(a.severity) - ORDER.indexOf(b.severity));
  return (
    <List isPlain>
      {sorted.map(({ code, severity, reason, fix }) => (
        <ListItem key={code}>
          <Label isCompact variant="outline" color={WEIGHT[severity]?.color ?? 'blue'}>
            {t(WEIGHT[severity]?.label ?? severity)}
          </Label>{' '}
          {reason}
          {fix && <span className="x-dim x-block">{fix}</span>}
        </ListItem>
      ))}
    </List>
  );
}

function Outcome({ vm, begun }: { vm: VmAssessment; begun?: Record<string, Begun> }) {
  const { t } = useTranslation();
  if (!vm.movable) return <span className="x-dim">{t('Left out')}</span>;
  if (!begun) return <>{t('Will begin')}</>;
  const one = begun[vm.id];
  if (!one) return <>{t('Waiting')}</>;
  if (one.error) return <span className="x-bad">{one.error}</span>;
  return <Link to={`/imports/${one.import}`}>{t('Begun: look at it')}</Link>;
}
