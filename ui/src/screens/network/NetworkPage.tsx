// One network: which hosts have its bridge, and with what behind it.

import { Alert, Card, CardBody, CardTitle, PageSection } from '@patternfly/react-core';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useTranslation } from 'react-i18next';
import { Link, useNavigate, useParams } from 'react-router';
import { useRead } from '../../api/client';
import type { Host, Network } from '../../api/generated';
import { useLiveRows } from '../../live/rows';
import { Facts } from '../../parts/Facts';
import { Failed, Loading, Nothing } from '../../parts/feedback';
import { Id } from '../../parts/Id';
import { useNames } from '../../parts/names';
import { PageHead } from '../../parts/PageHead';
import { VerbMenu } from '../../parts/VerbMenu';
import { useNetworkVerbs } from './verbs';
import { useAll } from '../../list/all';

export default function NetworkPage() {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const names = useNames();
  const verbs = useNetworkVerbs();
  const { network: id = '' } = useParams();
  const networks = useAll('network.list', {});
  const hosts = useRead('host.list', { limit: 1000 });
  useLiveRows('host', '');
  if (networks.isPending || hosts.isPending) return <Loading />;
  if (networks.isError) return <Failed error={networks.error} retry={() => void networks.refetch()} />;
  const network = networks.data.find((one) => one.id === id);
  if (!network) return <Nothing title={t('There is no such network')}>{t('It may have been deleted meanwhile. Go back to the list.')}</Nothing>;
  const pool = hosts.data?.items.filter((host) => host.pool === network.pool) ?? [];
  const without = pool.filter((host) => host.facts && !bridgeOf(host, network));
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <PageHead
        up={['/networks', t('Networks')]}
        title={network.name}
        below={network.description && <span>{network.description}</span>}
        actions={<VerbMenu labelled name={network.name} verbs={verbs(network, () => void navigate('/networks'))} />}
      />
      {without.length > 0 && (
        <Alert isInline variant="warning" title={t('{{count}} hosts of the pool do not have its bridge', { count: without.length })}>
          {t('VMs in this network cannot be placed there: {{names}}.', { names: without.map((host) => host.name).join(', ') })}
        </Alert>
      )}
      <div className="x-cards">
        <Card isCompact>
          <CardTitle component="h2">{t('About it')}</CardTitle>
          <CardBody>
            <Facts
              facts={[
                [t('Bridge'), <code key="b">{network.bridge}</code>],
                [t('Pool'), names.pool(network.pool)],
                [t('Id'), <Id key="i" id={network.id} />],
              ]}
            />
            <p className="x-above">
              <Link to={`/topology?fails=${network.id}`}>{t('What is hit when it fails')}</Link>
            </p>
          </CardBody>
        </Card>
        <Card isCompact>
          <CardTitle component="h2">{t('On the hosts')}</CardTitle>
          <CardBody>
            <Table variant="compact" borders={false} aria-label={t('On the hosts')}>
              <Thead>
                <Tr>
                  <Th>{t('Host')}</Th>
                  <Th>{t('Uplinks')}</Th>
                  <Th>{t('MTU')}</Th>
                </Tr>
              </Thead>
              <Tbody>
                {pool.map((host) => {
                  const bridge = bridgeOf(host, network);
                  return (
                    <Tr key={host.id}>
                      <Td dataLabel={t('Host')}>
                        <Link to={`/hosts/${host.id}`}>{host.name}</Link>
                      </Td>
                      <Td dataLabel={t('Uplinks')}>{bridge ? bridge.uplinks.join(', ') || t('none: only VMs among themselves') : <span className="x-bad">{t('no such bridge')}</span>}</Td>
                      <Td dataLabel={t('MTU')}>{bridge?.mtu ?? '—'}</Td>
                    </Tr>
                  );
                })}
              </Tbody>
            </Table>
          </CardBody>
        </Card>
      </div>
    </PageSection>
  );
}

const bridgeOf = (host: Host, network: Network) => host.facts?.bridges.find(({ name }) => name === network.bridge);
