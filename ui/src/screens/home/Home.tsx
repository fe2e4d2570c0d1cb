// How the installation is: what needs a person first, then capacity, what runs and what happened.

import { Button, Card, CardBody, CardTitle, Content, Gallery, PageSection } from '@patternfly/react-core';
import ServerIcon from '@patternfly/react-icons/dist/esm/icons/server-icon';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import { useRead } from '../../api/client';
import type { Event, Host, Sr } from '../../api/generated';
import { FALLBACK_MS } from '../../live/again';
import { useLiveRows } from '../../live/rows';
import { useTasks } from '../../live/tasks';
import { Failed, Loading, Nothing } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { Meter } from '../../parts/Meter';
import { SeverityLabel, TaskLabel } from '../../parts/state';
import { Subject } from '../../parts/Subject';
import { over } from '../../parts/words';
import { PageTitle } from '../../parts/PageTitle';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { AlarmCard } from '../alarm/AlarmCard';
import { Unprotected } from '../backup/Unprotected';
import { expiry } from '../certificate/expiry';
import { AddHost } from '../host/AddHost';
import { full } from '../sr/words';
import { TaskProgress } from '../task/parts';
import { useAll } from '../../list/all';

/** Of what needs attention so much is named. */
const MOST = 8;

export default function Home() {
  const { t } = useTranslation();
  const user = useUser();
  const health = useRead('system.health', {}, { every: FALLBACK_MS });
  const hosts = useRead('host.list', { limit: 1000 });
  useLiveRows('host', '');
  const srs = useAll('sr.list', {}, { every: 30_000 });
  const [adding, setAdding] = useState(false);
  if (health.isPending || hosts.isPending) return <Loading />;
  if (!health.data) return <Failed error={health.error} retry={() => void health.refetch()} />;
  if (!hosts.data) return <Failed error={hosts.error} retry={() => void hosts.refetch()} />;
  if (hosts.data.total === 0) {
    const why = mayNot(user, 'host.add');
    return (
      <PageSection isFilled>
        <Nothing
          icon={ServerIcon}
          title={t('Welcome to Xenith')}
          action={
            <Button isDisabled={!!why} onClick={() => setAdding(true)}>
              {t('Add a host')}
            </Button>
          }
        >
          {why ? t(why) : t('Begin with a host: a machine that runs Xen. It joins with a token that works once; then you create VMs on it.')}
        </Nothing>
        {adding && <AddHost close={() => setAdding(false)} />}
      </PageSection>
    );
  }
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <PageTitle>{t('Home')}</PageTitle>
      <AlarmCard />
      <Attention hosts={hosts.data.items} srs={srs.data ?? []} unknown={health.data.hosts_unknown} />
      <Gallery hasGutter minWidths={{ default: '260px' }} className="x-tiles">
        <Tile title={t('Virtual machines')} to="/vms" value={health.data.vms} note={t('{{count}} running', { count: health.data.vms_running })} />
        <Tile
          title={t('Hosts')}
          to="/hosts"
          value={health.data.hosts}
          note={health.data.hosts_unknown ? t('{{count}} not heard', { count: health.data.hosts_unknown }) : t('all connected')}
        />
        <Capacity hosts={hosts.data.items} />
      </Gallery>
      <div className="x-columns">
        <RunningTasks />
        <Unprotected />
        <Happened />
      </div>
    </PageSection>
  );
}

function Tile({ title, to, value, note }: { title: string; to: string; value: number; note: string }) {
  const format = useFormat();
  return (
    <Card isCompact className="x-tile">
      <CardTitle component="h2">
        <Link to={to}>{title}</Link>
      </CardTitle>
      <CardBody>
        <span className="x-big">{format.number(value)}</span>
        <span className="x-dim">{note}</span>
      </CardBody>
    </Card>
  );
}

function Capacity({ hosts }: { hosts: Host[] }) {
  const { t } = useTranslation();
  const format = useFormat();
  const facts = hosts.flatMap((host) => (host.facts ? [host.facts] : []));
  const total = facts.reduce((sum, host) => sum + host.memory_total, 0);
  const free = facts.reduce((sum, host) => sum + host.memory_free, 0);
  const cpus = facts.reduce((sum, host) => sum + host.topology.cpus, 0);
  return (
    <Card isCompact className="x-tile">
      <CardTitle component="h2">{t('Capacity')}</CardTitle>
      <CardBody>
        <Meter
          label={t('Memory')}
          used={total - free}
          total={total}
          text={t('{{free}} free of {{total}}', { free: format.mib(free), total: format.mib(total) })}
        />
        <span className="x-dim">{t('{{count}} CPU threads', { count: cpus })}</span>
      </CardBody>
    </Card>
  );
}

/** What a person should look at; nothing when all is well. */
function Attention({ hosts, srs, unknown }: { hosts: Host[]; srs: Sr[]; unknown: number }) {
  const { t } = useTranslation();
  const format = useFormat();
  const parked = useTasks().filter((task) => task.status === 'parked');
  const soon = Date.now() + 14 * 86_400_000;
  const expiring = hosts.filter((host) => new Date(host.certificate_expires).getTime() < soon && host.status !== 'connected');
  const own = useRead('system.info', {}, { every: 600_000 }).data?.certificate;
  // One of our authority's renews itself.
  const late = own?.from_files && expiry('files', own.expires) !== 'fine' ? own : undefined;
  const lines = [
    ...hosts
      .filter((host) => host.status === 'unknown')
      .map((host) => ({
        key: host.id,
        to: `/hosts/${host.id}`,
        text: t('{{name}} is not heard: {{why}}', { name: host.name, why: host.problem ?? t('no reason is known') }),
      })),
    ...srs
      .filter((sr) => sr.problem || (full(sr) ?? 0) > 0.9)
      .map((sr) => ({
        key: sr.id,
        to: `/storage/${sr.id}`,
        text: sr.problem ? t('{{name}} cannot be used: {{why}}', { name: sr.name, why: sr.problem }) : t('{{name}} is {{percent}} full', { name: sr.name, percent: format.percent(full(sr) ?? 0) }),
      })),
    ...parked.map((task) => ({ key: task.id, to: `/tasks/${task.id}`, text: t('Parked, waits for you: {{title}}', { title: task.title }) })),
    ...(late ? [{ key: 'cert', to: '/certificates', text: t('The certificate of this page ends {{when}}: renew its files', { when: format.ago(late.expires) }) }] : []),
    ...expiring.map((host) => ({
      key: `cert ${host.id}`,
      to: `/hosts/${host.id}`,
      text: t('The certificate of {{name}} ends {{when}}', { name: host.name, when: format.ago(host.certificate_expires) }),
    })),
  ];
  if (lines.length === 0 && unknown === 0) return null;
  return (
    <Card isCompact className="x-attention">
      <CardTitle component="h2">{t('Needs attention')}</CardTitle>
      <CardBody>
        <ul className="x-plain">
          {lines.slice(0, MOST).map(({ key, to, text }) => (
            <li key={key}>
              <Link to={to}>{text}</Link>
            </li>
          ))}
        </ul>
        {lines.length > MOST && <p className="x-above">{t('… and {{count}} more', { count: lines.length - MOST })}</p>}
      </CardBody>
    </Card>
  );
}

function RunningTasks() {
  const { t } = useTranslation();
  const format = useFormat();
  const tasks = useTasks();
  const busy = tasks.filter((task) => !over(task.status));
  const list = (busy.length > 0 ? busy : tasks).slice(0, 8);
  return (
    <Card isCompact>
      <CardTitle component="h2">{busy.length > 0 ? t('Running tasks') : t('Latest tasks')}</CardTitle>
      <CardBody>
        {list.length === 0 && (
          <Content component="p" className="x-dim">
            {t('Nothing has been done yet.')}
          </Content>
        )}
        <ul className="x-plain x-lines">
          {list.map((task) => (
            <li key={task.id}>
              <Link to={`/tasks/${task.id}`}>{task.title}</Link>
              {over(task.status) ? (
                <span className="x-labels">
                  <TaskLabel status={task.status} />
                  <span className="x-dim">{format.ago(task.ended ?? task.created)}</span>
                </span>
              ) : (
                <span className="x-half">
                  <TaskProgress task={task} />
                </span>
              )}
            </li>
          ))}
        </ul>
      </CardBody>
    </Card>
  );
}

function Happened() {
  const { t } = useTranslation();
  const format = useFormat();
  const events = useRead('event.list', { limit: 8 });
  return (
    <Card isCompact>
      <CardTitle component="h2">
        <Link to="/events">{t('Events')}</Link>
      </CardTitle>
      <CardBody>
        {events.data?.items.length === 0 && (
          <Content component="p" className="x-dim">
            {t('Nothing has happened yet.')}
          </Content>
        )}
        <ul className="x-plain x-lines">
          {events.data?.items.map((event: Event) => (
            <li key={event.id}>
              <span className="x-labels">
                <SeverityLabel severity={event.severity} />
                <Subject subject={event.subject}>{event.message}</Subject>
              </span>
              <span className="x-dim">{format.ago(event.at)}</span>
            </li>
          ))}
        </ul>
      </CardBody>
    </Card>
  );
}
