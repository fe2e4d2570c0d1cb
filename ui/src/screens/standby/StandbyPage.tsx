// One standby: what it would take over with, what would be lost, and what it follows.

import { Card, CardBody, CardTitle, PageSection } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useNavigate, useParams } from 'react-router';
import { there, useRead } from '../../api/client';
import type { Standby } from '../../api/generated';
import { Ago } from '../../parts/Ago';
import { FALLBACK_MS } from '../../live/again';
import { Alert } from '../../parts/Alert';
import { Facts } from '../../parts/Facts';
import { Failed, Loading } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { Id } from '../../parts/Id';
import { useNames } from '../../parts/names';
import { PageHead } from '../../parts/PageHead';
import { Parts } from '../../parts/Parts';
import { useUrlState } from '../../parts/url';
import { VerbMenu } from '../../parts/VerbMenu';
import { EventsOf } from '../event/EventsOf';
import { TaskList } from '../task/TaskList';
import { FailBack } from './FailBack';
import { useStandbyVerbs } from './verbs';
import { isBehind, lost, StandbyLabel } from './words';

export default function StandbyPage() {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const { standby: reference = '' } = useParams();
  const [tab, setTab] = useUrlState('tab');
  const [back, setBack] = useState(false);
  const verbs = useStandbyVerbs();
  const read = useRead('standby.get', { standby: reference }, { every: FALLBACK_MS });
  const standby = there(read);
  if (read.isPending) return <Loading />;
  if (!standby) return <Failed error={read.error} up={['/standbys', t('Standbys')]} retry={() => void read.refetch()} />;
  const tabs: [string, string][] = [
    ['summary', t('Summary')],
    ['tasks', t('Tasks')],
    ['events', t('Events')],
  ];
  const address = (key: string) => (key === 'summary' ? `/standbys/${standby.vm}` : `/standbys/${standby.vm}?tab=${key}`);
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <PageHead
        up={['/standbys', t('Standbys')]}
        title={standby.name}
        labels={<StandbyLabel status={standby.status} />}
        actions={<VerbMenu labelled name={standby.name} verbs={verbs(standby, { failBack: () => setBack(true), gone: () => void navigate('/standbys') })} />}
      />
      <Warnings standby={standby} />
      <Parts of="standby" label={t('Parts of the standby')} parts={tabs} shown={tab ?? 'summary'} address={address} go={(key) => setTab(key === 'summary' ? null : key)}>
        {tab === 'tasks' ? <TaskList vm={standby.vm} /> : tab === 'events' ? <EventsOf subject={`vm/${standby.vm}`} /> : <Summary standby={standby} />}
      </Parts>
      {back && <FailBack standby={standby} close={() => setBack(false)} />}
    </PageSection>
  );
}

function Warnings({ standby }: { standby: Standby }) {
  const { t } = useTranslation();
  const names = { name: standby.name, of: standby.of_name ?? t('a deleted VM') };
  return (
    <>
      {!standby.of_name && (
        <Alert isInline variant="warning" title={t('The VM that it stands by for was deleted')}>
          {t('It can still take over, with what it holds.')}
        </Alert>
      )}
      {!standby.automatic && standby.of_name && (
        <Alert isInline variant="warning" title={t('{{of}} took over from it', names)}>
          {t('What it wrote since its last backup is still on its disks. It follows {{of}} when it is told to, and that is gone then.', names)}
        </Alert>
      )}
      {standby.status === 'incomplete' && standby.automatic && (
        <Alert isInline variant="warning" title={t('It cannot take over now')}>
          {standby.newest ? t('Its disks do not hold one whole backup: it was stopped in the middle, or has not begun. It tries again by itself.') : t('There is no backup yet that it could follow: back {{of}} up.', names)}
        </Alert>
      )}
    </>
  );
}

function Summary({ standby }: { standby: Standby }) {
  const { t } = useTranslation();
  const format = useFormat();
  const names = useNames();
  const seconds = lost(standby);
  return (
    <div className="x-cards">
      <Card isCompact>
        <CardTitle component="h2">{t('If it took over now')}</CardTitle>
        <CardBody>
          <Facts
            facts={[
              [t('It would start as of'), format.date(standby.backup_created)],
              [t('Lost would be'), seconds === undefined ? undefined : t('what was written in {{time}}', { time: format.duration(seconds) })],
              [t('Newer backup'), isBehind(standby) ? <Ago at={standby.newest} /> : t('none')],
              [t('MAC addresses'), standby.keep_macs ? t('those of the VM: the two exchange them') : t('its own')],
              [t('Backup'), standby.backup && <Id key="b" id={standby.backup} />],
            ]}
          />
        </CardBody>
      </Card>
      <Card isCompact>
        <CardTitle component="h2">{t('About it')}</CardTitle>
        <CardBody>
          <Facts
            facts={[
              [t('Stands by for'), standby.of_name ? <Link to={`/vms/${standby.of}`}>{standby.of_name}</Link> : t('a deleted VM')],
              [t('VM'), <Link key="v" to={`/vms/${standby.vm}`}>{standby.name}</Link>],
              [t('Host'), <Link key="h" to={`/hosts/${standby.host}`}>{names.host(standby.host)}</Link>],
              [t('Repository'), standby.repository_name],
              [t('Follows'), standby.automatic ? t('by itself') : t('when told')],
              [t('Id'), <Id key="i" id={standby.vm} />],
            ]}
          />
        </CardBody>
      </Card>
    </div>
  );
}
