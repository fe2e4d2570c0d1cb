// Pools, their hosts, networks and VMs as a picture: choose one thing, and what is hit when it fails is marked.

import { Button, Card, CardBody, CardTitle, Content, PageSection } from '@patternfly/react-core';
import { useMemo } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import { refresh, useRead } from '../../api/client';
import type { Sr, VmRow } from '../../api/generated';
import { FALLBACK_MS } from '../../live/again';
import { useLiveRows } from '../../live/rows';
import { Alert } from '../../parts/Alert';
import { Failed, Loading } from '../../parts/feedback';
import { HostLabel } from '../../parts/state';
import { POWER } from '../../parts/words';
import { useUrlState } from '../../parts/url';
import { PageTitle } from '../../parts/PageTitle';
import { hitBy, storageOf, type Picture } from './hit';
import { useAll } from '../../list/all';
import { HitList } from './HitList';

const MOST = 1000;
const ATTACHED = 'attached:yes';

export default function Topology() {
  const { t } = useTranslation();
  const [failed, setFailed] = useUrlState('fails');
  const pools = useAll('pool.list', {});
  const hosts = useRead('host.list', { limit: 1000 });
  useLiveRows('host', '');
  const networks = useAll('network.list', {});
  const srs = useAll('sr.list', {}, { every: FALLBACK_MS });
  const vdis = useRead('vdi.list', { filter: ATTACHED, limit: MOST });
  useLiveRows('vdi', ATTACHED);
  const vms = useRead('vm.list', { limit: MOST, sort: 'name' });
  useLiveRows('vm', '');
  // Rows do not tell networks: who is in the one that fails is asked for.
  const network = networks.data?.find(({ id }) => id === failed)?.id;
  const within = `network_id:${network ?? ''}`;
  const members = useRead('vm.list', { filter: within, limit: MOST, sort: 'name' }, { enabled: !!network });
  useLiveRows('vm', within, 'name', !!network);
  const inNetwork = useMemo(() => (network && members.data ? new Set<string>(members.data.items.map(({ id }) => id)) : undefined), [network, members.data]);
  const error = pools.error ?? hosts.error ?? networks.error ?? srs.error ?? vdis.error ?? vms.error ?? members.error;
  const picture: Picture | undefined = useMemo(
    () =>
      pools.data && hosts.data && networks.data && srs.data && vdis.data && vms.data
        ? { pools: pools.data, hosts: hosts.data.items, networks: networks.data, srs: srs.data, vms: vms.data.items, storage: storageOf(vdis.data.items), inNetwork }
        : undefined,
    [pools.data, hosts.data, networks.data, srs.data, vdis.data, vms.data, inNetwork],
  );
  const known = !network || inNetwork;
  const hit = useMemo(() => (picture && failed && known ? hitBy(picture, failed) : undefined), [picture, failed, known]);
  if (!picture || (network && !members.data && members.error)) return error ? <Failed error={error} retry={() => refresh('pool', 'host', 'network', 'sr', 'vdi', 'vm')} /> : <Loading />;
  const running = picture.vms.filter((vm) => hit?.vms.has(vm.id) && vm.power === 'running');
  const mark = (id: string) => (id === failed ? ' x-fails' : hit && (hit.vms.has(id) || hit.hosts.has(id) || hit.networks.has(id) || hit.srs.has(id)) ? ' x-hit' : '');
  const pick = (id: string) => setFailed(failed === id ? null : id);
  const name = [...picture.pools, ...picture.hosts, ...picture.networks, ...picture.srs].find(({ id }) => id === failed)?.name;
  const store = (sr: Sr) => (
    <button key={sr.id} type="button" className={`x-network${mark(sr.id)}`} aria-pressed={failed === sr.id} onClick={() => pick(sr.id)}>
      {sr.name} <span className="x-dim">{sr.spec ? t('shared storage') : t('its own storage')}</span>
    </button>
  );
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <div>
        <PageTitle>{t('Topology')}</PageTitle>
        <Content component="p" className="x-dim">
          {t('Choose a host, network, storage or pool to see what is hit when it fails.')}
        </Content>
      </div>
      {(vms.data?.total ?? 0) > MOST && (
        <Alert isInline variant="info" title={t('The first {{count}} VMs are drawn. Hosts and networks are all here.', { count: MOST })} />
      )}
      {hit && name && (
        <Alert
          isInline
          variant="warning"
          title={t('If {{name}} fails: {{count}} VMs are hit, {{running}} of them run now', { name, count: hit.vms.size, running: running.length })}
          actionLinks={
            <Button variant="link" isInline onClick={() => setFailed(null)}>
              {t('Forget it')}
            </Button>
          }
        >
          <HitList picture={picture} hit={hit} />
        </Alert>
      )}
      {picture.pools.map((pool) => (
        <Card key={pool.id} isCompact className={`x-pool${mark(pool.id)}`}>
          <CardTitle component="h2">
            <Button variant="link" isInline aria-pressed={failed === pool.id} onClick={() => pick(pool.id)}>
              {t('Pool {{name}}', { name: pool.name })}
            </Button>
          </CardTitle>
          <CardBody>
            <div className="x-networks">
              {picture.networks
                .filter((network) => network.pool === pool.id)
                .map((network) => (
                  <button key={network.id} type="button" className={`x-network${mark(network.id)}`} aria-pressed={failed === network.id} onClick={() => pick(network.id)}>
                    {network.name} <span className="x-dim">{network.bridge}</span>
                  </button>
                ))}
            </div>
            <div className="x-hosts">
              {picture.hosts
                .filter((host) => host.pool === pool.id)
                .map((host) => (
                  <section key={host.id} className={`x-host${mark(host.id)}`} aria-label={host.name}>
                    <div className="x-labels">
                      <Button variant="link" isInline aria-pressed={failed === host.id} onClick={() => pick(host.id)}>
                        {host.name}
                      </Button>
                      <HostLabel status={host.status} maintenance={host.maintenance} />
                    </div>
                    <ul className="x-plain x-dots">
                      {picture.vms
                        .filter((vm) => vm.host === host.id)
                        .map((vm) => (
                          <Dot key={vm.id} vm={vm} mark={mark(vm.id)} />
                        ))}
                    </ul>
                    <div className="x-srs">{picture.srs.filter((sr) => !sr.spec && sr.hosts.includes(host.id)).map(store)}</div>
                  </section>
                ))}
            </div>
            <div className="x-srs">{picture.srs.filter((sr) => sr.spec && sr.pool === pool.id).map(store)}</div>
            {!picture.hosts.some((host) => host.pool === pool.id) && <p className="x-dim">{t('No hosts in this pool.')}</p>}
          </CardBody>
        </Card>
      ))}
    </PageSection>
  );
}

function Dot({ vm, mark }: { vm: VmRow; mark: string }) {
  const { t } = useTranslation();
  return (
    <li>
      <Link to={`/vms/${vm.id}`} className={`x-dot x-dot-${vm.power}${mark}`} title={`${vm.name}: ${t(POWER[vm.power].label)}`}>
        {vm.name}
      </Link>
    </li>
  );
}
