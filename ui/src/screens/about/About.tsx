// Which version, which installation, how it is, what it is licensed under.

import { Card, CardBody, CardTitle, ClipboardCopy, PageSection } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';
import { useRead } from '../../api/client';
import { FALLBACK_MS } from '../../live/again';
import { Facts } from '../../parts/Facts';
import { Failed, Loading } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { PageTitle } from '../../parts/PageTitle';

export default function About() {
  const { t } = useTranslation();
  const format = useFormat();
  const info = useRead('system.info', {});
  const health = useRead('system.health', {}, { every: FALLBACK_MS });
  if (info.isPending) return <Loading />;
  if (!info.data) return <Failed error={info.error} retry={() => void info.refetch()} />;
  const counts = health.data;
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <PageTitle>{t('About')}</PageTitle>
      <div className="x-cards">
        <Card isCompact>
          <CardTitle component="h2">{t('This installation')}</CardTitle>
          <CardBody>
            <Facts
              facts={[
                [t('Version'), info.data.version],
                [t('Address'), location.host],
                [
                  t('Authority'),
                  <ClipboardCopy key="a" variant="inline-compact" isCode hoverTip={t('Copy')} clickTip={t('Copied')}>
                    {info.data.authority}
                  </ClipboardCopy>,
                ],
                [t('Command line'), <code key="c">{`xenith login https://${location.host}`}</code>],
                [
                  t('API'),
                  <a key="o" href="/openrpc.json" target="_blank" rel="noreferrer">
                    {t('OpenRPC document')}
                  </a>,
                ],
              ]}
            />
          </CardBody>
        </Card>
        {counts && (
          <Card isCompact>
            <CardTitle component="h2">{t('How it is')}</CardTitle>
            <CardBody>
              <Facts
                facts={[
                  [t('Store'), counts.read_only ? t('read only: {{why}}', { why: counts.read_only }) : t('writes')],
                  [t('Hosts'), t('{{count}} hosts', { count: counts.hosts })],
                  [t('Not heard'), format.number(counts.hosts_unknown)],
                  [t('VMs'), t('{{count}} VMs', { count: counts.vms })],
                  [t('Tasks'), t('{{count}} tasks running', { count: counts.tasks_active })],
                ]}
              />
            </CardBody>
          </Card>
        )}
        <Card isCompact>
          <CardTitle component="h2">{t('Licence')}</CardTitle>
          <CardBody>
            <p>{t('Xenith is free software under the GNU Affero General Public License, version 3.')}</p>
            <p className="x-dim">{t('Its browser UI is made with React, PatternFly, TanStack Query and Virtual, React Router, i18next, noVNC, xterm.js, uPlot and uqr.')}</p>
          </CardBody>
        </Card>
      </div>
    </PageSection>
  );
}
