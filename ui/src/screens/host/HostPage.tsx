// One host: capacity, topology, what it offers, its storage and VMs.

import { Card, CardBody, CardTitle, PageSection } from '@patternfly/react-core';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useTranslation } from 'react-i18next';
import { Link, useNavigate, useParams } from 'react-router';
import { there, useRead } from '../../api/client';
import type { Host, HostFacts } from '../../api/generated';
import { useLiveRows } from '../../live/rows';
import { HostShell } from '../../console/HostShell';
import { Alert } from '../../parts/Alert';
import { Facts } from '../../parts/Facts';
import { Failed, Loading } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { Id } from '../../parts/Id';
import { Meter } from '../../parts/Meter';
import { useNames } from '../../parts/names';
import { PageHead } from '../../parts/PageHead';
import { Parts } from '../../parts/Parts';
import { HostLabel } from '../../parts/state';
import { useUrlState } from '../../parts/url';
import { EventsOf } from '../event/EventsOf';
import { Metrics } from '../metrics/Metrics';
import { AlarmsOf } from '../alarm/AlarmCard';
import { SrLabel } from '../sr/state';
import Vms from '../vm/Vms';
import { PowerCard } from './Power';
import { HostMenu } from './verbs';
import { useAll } from '../../list/all';

export default function HostPage() {
  const { t } = useTranslation();
  const { host: reference = '' } = useParams();
  const navigate = useNavigate();
  const [tab, setTab] = useUrlState('tab');
  const read = useRead('host.get', { host: reference });
  const host = there(read);
  useLiveRows('host', `id:${host?.id ?? ''}`, '', !!host);
  if (read.isPending) return <Loading />;
  if (!host) return <Failed error={read.error} up={['/hosts', t('Hosts')]} retry={() => void read.refetch()} />;
  const tabs: [string, string][] = [
    ['summary', t('Summary')],
    ['metrics', t('Metrics')],
    ['vms', t('Virtual machines')],
    ['events', t('Events')],
    ['shell', t('Shell')],
  ];
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <PageHead
        up={['/hosts', t('Hosts')]}
        title={host.name}
        labels={<HostLabel status={host.status} maintenance={host.maintenance} />}
        actions={<HostMenu host={host} labelled removed={() => void navigate('/hosts')} />}
      />
      {host.status === 'unknown' && (
        <Alert isInline variant="danger" title={t('{{name}} is not heard: {{why}}', { name: host.name, why: host.problem ?? t('no reason is known') })}>
          {t('Its VMs may well run; nobody starts them elsewhere on a guess. Look at the host: systemctl status xenith-agent, and xenith-agent doctor.')}
        </Alert>
      )}
      {host.maintenance && (
        <Alert isInline variant="info" title={t('In maintenance: it takes no new VMs and starts none')}>
          {t('Those that are here run on. Shut them down before you work on the host.')}
        </Alert>
      )}
      <AlarmsOf of="host" id={host.id} name={host.name} />
      <Parts of="host" label={t('Parts of the host')} parts={tabs} shown={tab ?? 'summary'} address={(key) => (key === 'summary' ? `/hosts/${host.id}` : `/hosts/${host.id}?tab=${key}`)} go={(key) => setTab(key === 'summary' ? null : key)}>
        {tab === 'shell' ? <HostShell host={host} /> : tab === 'metrics' ? <Metrics of="host" id={host.id} name={host.name} /> : tab === 'vms' ? <Vms within={`host_id:${host.id}`} title={t('Virtual machines')} /> : tab === 'events' ? <EventsOf subject={`host/${host.id}`} /> : <Summary host={host} />}
      </Parts>
    </PageSection>
  );
}

function Summary({ host }: { host: Host }) {
  const { t } = useTranslation();
  const format = useFormat();
  const names = useNames();
  const { facts } = host;
  return (
    <div className="x-cards">
      <Card isCompact>
        <CardTitle component="h2">{t('Capacity')}</CardTitle>
        <CardBody>
          {facts ? (
            <>
              <Meter
                label={t('Memory')}
                used={facts.memory_total - facts.memory_free}
                total={facts.memory_total}
                text={t('{{free}} free of {{total}}, {{dom0}} for the host itself', {
                  free: format.mib(facts.memory_free),
                  total: format.mib(facts.memory_total),
                  dom0: format.mib(facts.memory_dom0),
                })}
              />
              <Facts
                facts={[
                  [t('Processor'), facts.cpu_model],
                  [t('CPU threads'), t('{{cpus}} (cores a socket: {{cores}}, threads a core: {{threads}}, NUMA nodes: {{nodes}})', { cpus: facts.topology.cpus, nodes: facts.topology.nodes, cores: facts.topology.cores_per_socket, threads: facts.topology.threads_per_core })],
                  [t('CPU features'), facts.cpu_features && <Id key="f" id={facts.cpu_features} />],
                  [t('VMs'), format.number(host.vms)],
                ]}
              />
            </>
          ) : (
            <p className="x-dim">{t('The host has not told yet.')}</p>
          )}
        </CardBody>
      </Card>
      <Card isCompact>
        <CardTitle component="h2">{t('About it')}</CardTitle>
        <CardBody>
          <Facts
            facts={[
              [t('Pool'), names.pool(host.pool)],
              [t('Address'), host.address],
              [t('Last heard'), <time key="t" dateTime={host.last_heard ?? ''} title={format.date(host.last_heard)}>{format.ago(host.last_heard)}</time>],
              [t('Agent'), host.agent_version],
              [t('Certificate ends'), format.date(host.certificate_expires)],
              [t('Xen'), facts && `${facts.xen.major}.${facts.xen.minor}${facts.xen.extra}`],
              [t('Scheduler'), facts?.scheduler],
              [t('Runs guests of'), facts?.capabilities.join(', ')],
              [t('Id'), <Id key="i" id={host.id} />],
            ]}
          />
        </CardBody>
      </Card>
      {facts && <Bridges facts={facts} />}
      <Storage host={host} />
      <PowerCard host={host} />
    </div>
  );
}

function Bridges({ facts }: { facts: HostFacts }) {
  const { t } = useTranslation();
  return (
    <Card isCompact>
      <CardTitle component="h2">{t('Bridges')}</CardTitle>
      <CardBody>
        {facts.bridges.length === 0 ? (
          <p className="x-dim">{t('There is none: VMs with a NIC cannot be placed here.')}</p>
        ) : (
          <Table variant="compact" borders={false} aria-label={t('Bridges')}>
            <Thead>
              <Tr>
                <Th>{t('Bridge')}</Th>
                <Th>{t('Uplinks')}</Th>
                <Th>{t('MTU')}</Th>
              </Tr>
            </Thead>
            <Tbody>
              {facts.bridges.map((bridge) => (
                <Tr key={bridge.name}>
                  <Td dataLabel={t('Bridge')}>{bridge.name}</Td>
                  <Td dataLabel={t('Uplinks')}>{bridge.uplinks.join(', ') || t('none: only VMs among themselves')}</Td>
                  <Td dataLabel={t('MTU')}>{bridge.mtu}</Td>
                </Tr>
              ))}
            </Tbody>
          </Table>
        )}
      </CardBody>
    </Card>
  );
}

function Storage({ host }: { host: Host }) {
  const { t } = useTranslation();
  const format = useFormat();
  const srs = useAll('sr.list', {});
  const here = (srs.data ?? []).filter((sr) => sr.hosts.includes(host.id));
  return (
    <Card isCompact>
      <CardTitle component="h2">{t('Storage')}</CardTitle>
      <CardBody>
        {srs.data && here.length === 0 && <p className="x-dim">{t('The host has not told yet.')}</p>}
        <ul className="x-plain x-lines">
          {here.map((sr) => (
            <li key={sr.id}>
              <span className="x-labels">
                <Link to={`/storage/${sr.id}`}>{sr.name}</Link>
                <SrLabel sr={sr} />
              </span>
              <span className="x-dim">{sr.space ? t('{{free}} free of {{total}}', { free: format.bytes(sr.space.free), total: format.bytes(sr.space.total) }) : '—'}</span>
            </li>
          ))}
        </ul>
      </CardBody>
    </Card>
  );
}
