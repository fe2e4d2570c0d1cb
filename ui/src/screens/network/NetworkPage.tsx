// One network: what it is made of, whether each host has it or why not, and with what behind it.

import { Card, CardBody, CardTitle, Label, PageSection } from '@patternfly/react-core';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useTranslation } from 'react-i18next';
import { Link, useNavigate, useParams } from 'react-router';
import { useRead } from '../../api/client';
import type { Host, Network, NetworkOnHost, NetworkState } from '../../api/generated';
import { msg } from '../../i18n/msg';
import { FALLBACK_MS } from '../../live/again';
import { useLiveRows } from '../../live/rows';
import { Alert } from '../../parts/Alert';
import { Facts } from '../../parts/Facts';
import { ErrorBox, Failed, Loading, Nothing } from '../../parts/feedback';
import { Id } from '../../parts/Id';
import { useNames } from '../../parts/names';
import { PageHead } from '../../parts/PageHead';
import { VerbMenu } from '../../parts/VerbMenu';
import { uplinkWords } from './draft';
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
  const status = useRead('network.status', { network: id }, { every: FALLBACK_MS });
  const within = `network_id:${id}`;
  const vms = useRead('vm.count', { filter: within }, { every: FALLBACK_MS });
  useLiveRows('host', '');
  if (networks.isPending || hosts.isPending) return <Loading />;
  if (!networks.data) return <Failed error={networks.error} retry={() => void networks.refetch()} />;
  const network = networks.data.find((one) => one.id === id);
  if (!network) return <Nothing title={t('There is no such network')} action={<Link to="/networks">{t('Networks')}</Link>}>{t('It may have been deleted meanwhile. Go back to the list.')}</Nothing>;
  const pool = hosts.data?.items.filter((host) => host.pool === network.pool) ?? [];
  const told = new Map(status.data?.hosts.map((one): [string, NetworkOnHost] => [one.host, one]));
  // A bridge that is not ours is missing, or not; there is nothing to realise.
  const failed = network.uplink ? (status.data?.hosts.filter(({ state }) => state === 'failed') ?? []) : [];
  const without = network.uplink ? [] : pool.filter((host) => host.facts && !bridgeOf(host, network));
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <PageHead
        up={['/networks', t('Networks')]}
        title={network.name}
        below={network.description && <span>{network.description}</span>}
        actions={<VerbMenu labelled name={network.name} verbs={verbs(network, () => void navigate('/networks'))} />}
      />
      {failed.length > 0 && (
        <Alert isInline variant="danger" title={t('Not realised on: {{names}}', { names: failed.map(({ name }) => name).join(', ') })}>
          {t('It is tried again every half minute. What the hosts say is in the table.')}
        </Alert>
      )}
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
                [t('Leads to'), uplinkWords(network.uplink, t)],
                [t('MTU'), network.mtu],
                [t('Pool'), names.pool(network.pool)],
                [t('Virtual machines'), vms.data && <Link key="v" to={`/vms?q=${encodeURIComponent(within)}`}>{t('{{count}} VMs', { count: vms.data.total })}</Link>],
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
            {status.isError && <ErrorBox error={status.error} retry={() => void status.refetch()} />}
            <Table variant="compact" borders={false} aria-label={t('On the hosts')}>
              <Thead>
                <Tr>
                  <Th>{t('Host')}</Th>
                  <Th>{t('State')}</Th>
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
                      <Td dataLabel={t('State')}>
                        <StateOn told={told.get(host.id)} />
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

const STATE: Record<NetworkState, { label: string; color: 'green' | 'red' | 'grey' }> = {
  realised: { label: msg('Realised'), color: 'green' },
  failed: { label: msg('Failed'), color: 'red' },
  unknown: { label: msg('Unknown'), color: 'grey' },
};

function StateOn({ told }: { told?: NetworkOnHost }) {
  const { t } = useTranslation();
  if (!told) return <>—</>;
  const { label, color } = STATE[told.state];
  return (
    <>
      <Label isCompact variant="outline" color={color}>
        {t(label)}
      </Label>
      {told.reason && <span className="x-dim x-wrap x-block">{told.reason}</span>}
    </>
  );
}

const bridgeOf = (host: Host, network: Network) => host.facts?.bridges.find(({ name }) => name === network.bridge);
