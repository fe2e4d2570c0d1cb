// One pool: what is in it, and how its VMs are spread over its hosts.

import { Card, CardBody, CardTitle, PageSection } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';
import { Link, useNavigate, useParams } from 'react-router';
import { useRead } from '../../api/client';
import { useAll } from '../../list/all';
import { quoted } from '../../list/filter';
import { useLiveRows } from '../../live/rows';
import { Facts } from '../../parts/Facts';
import { Failed, Loading, Nothing } from '../../parts/feedback';
import { Id } from '../../parts/Id';
import { PageHead } from '../../parts/PageHead';
import { HostLabel } from '../../parts/state';
import { VerbMenu } from '../../parts/VerbMenu';
import { Balance } from './Balance';
import { CpuLevel } from './CpuLevel';
import { Updating } from './Updating';
import { usePoolVerbs } from './verbs';

export default function PoolPage() {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const { verbs, dialogs } = usePoolVerbs();
  const { pool: id = '' } = useParams();
  const pools = useAll('pool.list', {});
  const hosts = useRead('host.list', { limit: 1000 });
  const vms = useRead('vm.count', { filter: `pool:${quoted(pools.data?.find((one) => one.id === id)?.name ?? '')}` }, { enabled: !!pools.data });
  useLiveRows('host', '');
  if (pools.isPending || hosts.isPending) return <Loading />;
  if (!pools.data) return <Failed error={pools.error} retry={() => void pools.refetch()} />;
  const pool = pools.data.find((one) => one.id === id);
  if (!pool) return <Nothing title={t('There is no such pool')} action={<Link to="/pools">{t('Pools')}</Link>}>{t('It may have been deleted meanwhile. Go back to the list.')}</Nothing>;
  const own = hosts.data?.items.filter((host) => host.pool === pool.id) ?? [];
  const list = (of: string) => `/${of}?q=${encodeURIComponent(`pool:${quoted(pool.name)}`)}`;
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <PageHead
        up={['/pools', t('Pools')]}
        title={pool.name}
        below={pool.description && <span>{pool.description}</span>}
        actions={<VerbMenu labelled name={pool.name} verbs={verbs(pool, () => void navigate('/pools'))} />}
      />
      <Updating pool={pool} />
      <div className="x-cards">
        <Card isCompact>
          <CardTitle component="h2">{t('About it')}</CardTitle>
          <CardBody>
            <Facts
              facts={[
                [t('Virtual machines'), <Link key="v" to={list('vms')}>{t('{{count}} VMs', { count: vms.data?.total ?? 0 })}</Link>],
                [t('Networks'), <Link key="n" to={list('networks')}>{t('Those of the pool')}</Link>],
                [t('Storage'), <Link key="s" to={list('storage')}>{t('That of the pool')}</Link>],
                [t('Id'), <Id key="i" id={pool.id} />],
              ]}
            />
            <p className="x-above">
              <Link to={`/topology?fails=${pool.id}`}>{t('What is hit when it fails')}</Link>
            </p>
          </CardBody>
        </Card>
        <Card isCompact>
          <CardTitle component="h2">{t('Hosts')}</CardTitle>
          <CardBody>
            {own.length === 0 ? (
              <p className="x-dim">{t('No hosts in this pool.')}</p>
            ) : (
              <Facts facts={own.map((host) => [host.name, <Link key={host.id} to={`/hosts/${host.id}`}><HostLabel status={host.status} maintenance={host.maintenance} /></Link>])} />
            )}
          </CardBody>
        </Card>
      </div>
      <Balance pool={pool} />
      <CpuLevel pool={pool} />
      {dialogs}
    </PageSection>
  );
}
