// A CPU level in words, and how each host of a pool differs from it.

import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import type { CpuFeatures, HostCpu } from '../../api/generated';
import type { Fact } from '../../parts/Facts';
import { Id } from '../../parts/Id';
import { makerOf } from './cpu';

/** The level of each maker, to be read and copied. */
export function useLevels(levels: CpuFeatures[]): Fact[] {
  const { t } = useTranslation();
  return levels.map((level): Fact => [t('At most, of {{maker}}', { maker: makerOf(level) }), <Id key={level} id={level} />]);
}

export function HostLevels({ hosts }: { hosts: HostCpu[] }) {
  const { t } = useTranslation();
  if (hosts.length === 0) return null;
  return (
    <Table variant="compact" borders={false} className="x-above" aria-label={t('What its hosts have')}>
      <Thead>
        <Tr>
          <Th>{t('Host')}</Th>
          <Th>{t('Processors of')}</Th>
          <Th>{t('Hidden from VMs')}</Th>
          <Th>{t('Lacks of the level')}</Th>
        </Tr>
      </Thead>
      <Tbody>
        {hosts.map((host) => (
          <Tr key={host.host}>
            <Td dataLabel={t('Host')}>
              <Link to={`/hosts/${host.host}`}>{host.name}</Link>
            </Td>
            <Td dataLabel={t('Processors of')}>{host.features ? makerOf(host.features) : t('it does not tell')}</Td>
            <Td dataLabel={t('Hidden from VMs')} className="x-wrap">
              {host.hidden.join(', ') || '—'}
            </Td>
            <Td dataLabel={t('Lacks of the level')} className="x-wrap">
              {host.lacking.join(', ') || '—'}
            </Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}
