// Which VMs of a pool would move, why, and how full its hosts are before and after.

import { List, ListItem } from '@patternfly/react-core';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import type { BalancePlan } from '../../api/generated';
import { Alert } from '../../parts/Alert';
import { useFormat } from '../../parts/format';

export function Plan({ plan }: { plan: BalancePlan }) {
  const { t } = useTranslation();
  const format = useFormat();
  const change = (before: number, after: number) => t('{{before}} to {{after}}', { before: format.percent(before / 100), after: format.percent(after / 100) });
  return (
    <>
      {plan.moves.length === 0 && <Alert isInline isPlain variant="success" title={t('Nothing is to be moved')} />}
      {plan.notes.length > 0 && (
        <Alert isInline isPlain variant="info" title={t('What could not be done')}>
          <List isPlain>
            {plan.notes.map((note) => (
              <ListItem key={note}>{note}</ListItem>
            ))}
          </List>
        </Alert>
      )}
      {plan.power_off.length > 0 && <Alert isInline isPlain variant="info" title={t('Without VMs then, and can be powered off: {{names}}', { names: plan.power_off.map(({ name }) => name).join(', ') })} />}
      {plan.moves.length > 0 && (
        <div className="x-choices" tabIndex={0} role="region" aria-label={t('Moves')}>
          <Table variant="compact" borders={false} aria-label={t('Moves')}>
            <Thead>
              <Tr>
                <Th>{t('VM')}</Th>
                <Th>{t('From host')}</Th>
                <Th>{t('To host')}</Th>
                <Th>{t('Why')}</Th>
              </Tr>
            </Thead>
            <Tbody>
              {plan.moves.map((move) => (
                <Tr key={move.vm}>
                  <Td dataLabel={t('VM')}>
                    <Link to={`/vms/${move.vm}`}>{move.name}</Link>
                    <span className="x-dim x-block">{move.memory > 0 ? format.mib(move.memory) : t('off: only its definition')}</span>
                  </Td>
                  <Td dataLabel={t('From host')}>{move.from_name}</Td>
                  <Td dataLabel={t('To host')}>{move.to_name}</Td>
                  <Td dataLabel={t('Why')} className="x-wrap">
                    {move.reason}
                  </Td>
                </Tr>
              ))}
            </Tbody>
          </Table>
        </div>
      )}
      {plan.hosts.length > 0 && (
        <Table variant="compact" borders={false} aria-label={t('How full the hosts are')} className="x-above">
          <Thead>
            <Tr>
              <Th>{t('Host')}</Th>
              <Th>{t('Memory')}</Th>
              <Th>{t('Processors')}</Th>
            </Tr>
          </Thead>
          <Tbody>
            {plan.hosts.map((host) => (
              <Tr key={host.host}>
                <Td dataLabel={t('Host')}>{host.name}</Td>
                <Td dataLabel={t('Memory')}>{change(host.memory_percent, host.memory_percent_after)}</Td>
                <Td dataLabel={t('Processors')}>{change(host.cpu_percent, host.cpu_percent_after)}</Td>
              </Tr>
            ))}
          </Tbody>
        </Table>
      )}
    </>
  );
}
