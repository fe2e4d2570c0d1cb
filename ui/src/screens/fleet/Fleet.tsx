// The fleet as a tree: pools, their hosts, the VMs on those; or tags and the VMs that have them. Only what is opened is
// read, and of a long branch only its beginning: the rest is a link to the table.

import { Content, PageSection, ToggleGroup, ToggleGroupItem } from '@patternfly/react-core';
import PoolIcon from '@patternfly/react-icons/dist/esm/icons/cubes-icon';
import ServerIcon from '@patternfly/react-icons/dist/esm/icons/server-icon';
import TagIcon from '@patternfly/react-icons/dist/esm/icons/tag-icon';
import MachineIcon from '@patternfly/react-icons/dist/esm/icons/virtual-machine-icon';
import { useMemo } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import { refresh, useRead } from '../../api/client';
import type { Host } from '../../api/generated';
import { useLiveRows } from '../../live/rows';
import { Failed, Loading, Nothing } from '../../parts/feedback';
import { HostLabel, PowerLabel } from '../../parts/state';
import { useFormat } from '../../parts/format';
import { useUrlState } from '../../parts/url';
import { PageTitle } from '../../parts/PageTitle';
import { Branch } from './Branch';
import { tagsOf } from './tags';
import { useAll } from '../../list/all';

const MOST = 100;

export default function Fleet() {
  const { t } = useTranslation();
  const [by, setBy] = useUrlState('by');
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <div className="x-head">
        <div>
          <PageTitle>{t('Fleet')}</PageTitle>
          <Content component="p" className="x-dim">
            {by === 'tag' ? t('Tags, and the VMs that have them.') : t('Pools, their hosts, and the VMs on those.')}
          </Content>
        </div>
        <ToggleGroup isCompact aria-label={t('Ordered by')}>
          <ToggleGroupItem text={t('By place')} buttonId="fleet-place" isSelected={by !== 'tag'} onChange={() => setBy(null)} />
          <ToggleGroupItem text={t('By tag')} buttonId="fleet-tag" isSelected={by === 'tag'} onChange={() => setBy('tag')} />
        </ToggleGroup>
      </div>
      {by === 'tag' ? <ByTag /> : <ByPlace />}
    </PageSection>
  );
}

/** What is open stands in the address. */
function useOpened() {
  const [text, setText] = useUrlState('open');
  const opened = useMemo(() => new Set((text ?? '').split(' ').filter(Boolean)), [text]);
  const toggle = (id: string, on: boolean) => {
    const after = new Set(opened);
    if (on) after.add(id);
    else after.delete(id);
    setText([...after].join(' ') || null);
  };
  return { opened, toggle };
}

/** The VMs of an opened branch: the first of them, live. */
function Vms({ filter }: { filter: string }) {
  const { t } = useTranslation();
  const format = useFormat();
  const read = useRead('vm.list', { filter, limit: MOST });
  useLiveRows('vm', filter);
  if (!read.data) return <li className="x-node x-dim">{read.error ? read.error.message : t('Loading')}</li>;
  const { items, total } = read.data;
  return (
    <>
      {items.map((vm) => (
        <Branch key={vm.id} name={vm.name} icon={<MachineIcon />}>
          <Link to={`/vms/${vm.id}`}>{vm.name}</Link>
          <PowerLabel power={vm.power} />
        </Branch>
      ))}
      {items.length === 0 && <li className="x-node x-dim">{t('No VMs')}</li>}
      {total > items.length && (
        <li className="x-node">
          <Link to={`/vms?q=${encodeURIComponent(filter)}`}>{t('All {{total}} in the table', { total: format.number(total) })}</Link>
        </li>
      )}
    </>
  );
}

function ByPlace() {
  const { t } = useTranslation();
  const { opened, toggle } = useOpened();
  const pools = useAll('pool.list', {});
  const hosts = useRead('host.list', { limit: 1000 });
  useLiveRows('host', '');
  if (!pools.data || !hosts.data) {
    const error = pools.error ?? hosts.error;
    return error ? <Failed error={error} retry={() => refresh('pool', 'host')} /> : <Loading />;
  }
  if (hosts.data.total === 0) {
    return (
      <Nothing icon={ServerIcon} title={t('No hosts yet')} action={<Link to="/hosts">{t('Add a host')}</Link>}>
        {t('A host is a machine that runs Xen. It joins with a token that works once.')}
      </Nothing>
    );
  }
  const host = (host: Host) => (
    <Branch
      key={host.id}
      name={host.name}
      icon={<ServerIcon />}
      count={host.vms}
      open={opened.has(host.id)}
      toggle={(on) => toggle(host.id, on)}
      branches={<Vms filter={`host_id:${host.id}`} />}
    >
      <Link to={`/hosts/${host.id}`}>{host.name}</Link>
      {(host.status !== 'connected' || host.maintenance) && <HostLabel status={host.status} maintenance={host.maintenance} />}
    </Branch>
  );
  return (
    <ul className="x-plain x-fleet">
      {pools.data.map((pool) => {
        const own = hosts.data.items.filter((host) => host.pool === pool.id);
        // Pools are open until they are closed.
        const closed = `-${pool.id}`;
        return (
          <Branch key={pool.id} name={pool.name} icon={<PoolIcon />} count={own.length} open={!opened.has(closed)} toggle={(on) => toggle(closed, !on)} branches={own.map(host)}>
            <strong>{pool.name}</strong>
          </Branch>
        );
      })}
    </ul>
  );
}

function ByTag() {
  const { t } = useTranslation();
  const { opened, toggle } = useOpened();
  const tags = useRead('vm.complete', { text: 'tag:' });
  if (tags.isPending) return <Loading />;
  if (!tags.data) return <Failed error={tags.error} retry={() => void tags.refetch()} />;
  const offers = tagsOf(tags.data);
  if (offers.length === 0) {
    return (
      <Nothing icon={TagIcon} title={t('No tags yet')}>
        {t('Give VMs tags when they are made, or later with “Change”. Roles may hang on tags, too.')}
      </Nothing>
    );
  }
  return (
    <ul className="x-plain x-fleet">
      {offers.map(({ term, name, count }) => {
        const id = encodeURIComponent(term);
        return (
          <Branch key={term} name={name} icon={<TagIcon />} count={count} open={opened.has(id)} toggle={(on) => toggle(id, on)} branches={<Vms filter={term} />}>
            <Link to={`/vms?q=${id}`}>{name}</Link>
          </Branch>
        );
      })}
    </ul>
  );
}
