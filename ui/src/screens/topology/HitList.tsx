// What is hit, as a table: the picture for who does not see it, and for who wants the names.

import { ExpandableSection } from '@patternfly/react-core';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import { PowerLabel } from '../../parts/state';
import { useUrlState } from '../../parts/url';
import type { Hit, Picture } from './hit';

/** Of so many the names are here; their list has all. */
const MOST = 200;

interface Thing {
  key: string;
  kind: string;
  name: string;
  to: string;
  state?: React.ReactNode;
}

export function HitList({ picture, hit }: { picture: Picture; hit: Hit }) {
  const { t } = useTranslation();
  const [shown, show] = useUrlState('look');
  const things: Thing[] = [
    ...picture.hosts.filter(({ id }) => hit.hosts.has(id)).map(({ id, name }) => ({ key: id, kind: t('Host'), name, to: `/hosts/${id}` })),
    ...picture.networks.filter(({ id }) => hit.networks.has(id)).map(({ id, name }) => ({ key: id, kind: t('Network'), name, to: `/networks/${id}` })),
    ...picture.srs.filter(({ id }) => hit.srs.has(id)).map(({ id, name }) => ({ key: id, kind: t('Storage'), name, to: `/storage/${id}` })),
    // What runs comes first: that is what people notice.
    ...picture.vms
      .filter(({ id }) => hit.vms.has(id))
      .sort((a, b) => Number(b.power === 'running') - Number(a.power === 'running') || a.name.localeCompare(b.name))
      .map(({ id, name, power }) => ({ key: id, kind: t('VM'), name, to: `/vms/${id}`, state: <PowerLabel power={power} /> })),
  ];
  if (things.length === 0) return null;
  return (
    <ExpandableSection toggleText={t('What is hit, as a table')} isExpanded={shown === 'table'} onToggle={(_event, on) => show(on ? 'table' : null)}>
      <div className="x-choices" tabIndex={0} role="region" aria-label={t('What is hit, as a table')}>
        <Table variant="compact" borders={false} aria-label={t('What is hit, as a table')}>
          <Thead>
            <Tr>
              <Th width={20}>{t('Kind')}</Th>
              <Th>{t('Name')}</Th>
              <Th width={20}>{t('State')}</Th>
            </Tr>
          </Thead>
          <Tbody>
            {things.slice(0, MOST).map(({ key, kind, name, to, state }) => (
              <Tr key={key}>
                <Td dataLabel={t('Kind')}>{kind}</Td>
                <Td dataLabel={t('Name')}>
                  <Link to={to}>{name}</Link>
                </Td>
                <Td dataLabel={t('State')}>{state ?? '—'}</Td>
              </Tr>
            ))}
          </Tbody>
        </Table>
      </div>
      {things.length > MOST && <p className="x-dim">{t('And {{count}} more.', { count: things.length - MOST })}</p>}
    </ExpandableSection>
  );
}
