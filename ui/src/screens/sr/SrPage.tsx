// One SR: how full it is, where it is attached, the disks in it, and what a look through it finds.

import { Card, CardBody, CardTitle, PageSection } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useNavigate, useParams } from 'react-router';
import { there, useRead } from '../../api/client';
import type { Sr } from '../../api/generated';
import { FALLBACK_MS } from '../../live/again';
import { Alert } from '../../parts/Alert';
import { Facts } from '../../parts/Facts';
import { Failed, Loading } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { Id } from '../../parts/Id';
import { Meter } from '../../parts/Meter';
import { useNames } from '../../parts/names';
import { PageHead } from '../../parts/PageHead';
import { Parts } from '../../parts/Parts';
import { RowAction } from '../../parts/RowAction';
import { useActs } from '../../parts/acts';
import { useUrlState } from '../../parts/url';
import { VerbMenu } from '../../parts/VerbMenu';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import Disks from '../vdi/Disks';
import { AttachSr } from './dialogs';
import { Scan } from './Scan';
import { SrLabel } from './state';
import { useSrVerbs } from './verbs';
import { kind, where } from './words';

export default function SrPage() {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const { sr: reference = '' } = useParams();
  const [tab, setTab] = useUrlState('tab');
  const [attaching, setAttaching] = useState(false);
  const verbs = useSrVerbs();
  const read = useRead('sr.get', { sr: reference }, { every: FALLBACK_MS });
  const sr = there(read);
  if (read.isPending) return <Loading />;
  if (!sr) return <Failed error={read.error} up={['/storage', t('Storage')]} retry={() => void read.refetch()} />;
  const tabs: [string, string][] = [
    ['summary', t('Summary')],
    ['disks', t('Disks')],
    ['scan', t('Look through')],
  ];
  const address = (key: string) => (key === 'summary' ? `/storage/${sr.id}` : `/storage/${sr.id}?tab=${key}`);
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <PageHead
        up={['/storage', t('Storage')]}
        title={sr.name}
        labels={<SrLabel sr={sr} />}
        actions={<VerbMenu labelled name={sr.name} verbs={verbs(sr, { attach: () => setAttaching(true), scan: () => setTab('scan'), forgotten: () => void navigate('/storage') })} />}
      />
      {sr.problem && <Alert isInline variant="danger" title={t('It cannot be used: {{why}}', { why: sr.problem })} />}
      <Parts of="sr" label={t('Parts of the storage')} parts={tabs} shown={tab ?? 'summary'} address={address} go={(key) => setTab(key === 'summary' ? null : key)}>
        {tab === 'disks' ? <Disks within={`sr:${sr.id}`} sr={sr} /> : tab === 'scan' ? <Scan sr={sr} /> : <Summary sr={sr} />}
      </Parts>
      {attaching && <AttachSr sr={sr} close={() => setAttaching(false)} />}
    </PageSection>
  );
}

function Summary({ sr }: { sr: Sr }) {
  const { t } = useTranslation();
  const format = useFormat();
  const names = useNames();
  const { space } = sr;
  return (
    <div className="x-cards">
      <Card isCompact>
        <CardTitle component="h2">{t('Capacity')}</CardTitle>
        <CardBody>
          {space ? (
            <>
              <Meter label={t('Used')} used={space.total - space.free} total={space.total} text={t('{{free}} free of {{total}}', { free: format.bytes(space.free), total: format.bytes(space.total) })} />
              <Facts
                facts={[
                  [t('Taken by disks'), format.bytes(space.physical)],
                  [t('Promised to disks'), format.bytes(space.promised)],
                  [t('Disks'), format.number(sr.vdis)],
                ]}
              />
              {space.promised > space.physical + space.free && (
                <Alert isInline isPlain variant="warning" className="x-above" title={t('More is promised than there is')}>
                  {t('Disks may grow to {{promised}}. When the room is used up, the guests’ writes stop.', { promised: format.bytes(space.promised) })}
                </Alert>
              )}
            </>
          ) : (
            <p className="x-dim">{t('No host that has it has told yet.')}</p>
          )}
        </CardBody>
      </Card>
      <Card isCompact>
        <CardTitle component="h2">{t('About it')}</CardTitle>
        <CardBody>
          <Facts
            facts={[
              [t('Kind'), t(kind(sr))],
              sr.spec && [t('Where'), <code key="w">{where(sr, '')}</code>],
              sr.spec?.kind === 'nfs' && !!sr.spec.options && [t('Mount options'), <code key="o">{sr.spec.options}</code>],
              [t('Snapshots'), sr.copy_on_write == null ? undefined : sr.copy_on_write ? t('at once: blocks are shared') : t('copies: the file system shares no blocks')],
              [t('Pool'), names.pool(sr.pool)],
              [t('Id'), <Id key="i" id={sr.id} />],
            ]}
          />
        </CardBody>
      </Card>
      <Attached sr={sr} />
    </div>
  );
}

function Attached({ sr }: { sr: Sr }) {
  const { t } = useTranslation();
  const user = useUser();
  const names = useNames();
  const { ask } = useActs();
  const detach = (host: string) =>
    ask({
      method: 'sr.detach',
      params: { sr: sr.id, host },
      title: t('Detach {{name}} from {{host}}', { name: sr.name, host: names.host(host) }),
      text: t('What is on it stays. VMs on this host that have a disk in it prevent it.'),
      button: t('Detach'),
    });
  return (
    <Card isCompact>
      <CardTitle component="h2">{t('Attached to')}</CardTitle>
      <CardBody>
        {sr.hosts.length === 0 && <p className="x-dim">{t('No host has it attached.')}</p>}
        <ul className="x-plain x-lines">
          {sr.hosts.map((host) => (
            <li key={host}>
              <Link to={`/hosts/${host}`}>{names.host(host)}</Link>
              {sr.spec && <RowAction label={t('Detach')} name={names.host(host)} why={mayNot(user, 'sr.detach', { pool: sr.pool })} go={() => detach(host)} />}
            </li>
          ))}
        </ul>
      </CardBody>
    </Card>
  );
}
