// One template: what a VM gets that asks for nothing else, and its disks.

import { Card, CardBody, CardTitle, PageSection } from '@patternfly/react-core';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useTranslation } from 'react-i18next';
import { Link, useNavigate, useParams } from 'react-router';
import { useRead } from '../../api/client';
import { Facts } from '../../parts/Facts';
import { Failed, Loading } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { Id } from '../../parts/Id';
import { useNames, useSrName } from '../../parts/names';
import { PageHead } from '../../parts/PageHead';
import { VerbMenu } from '../../parts/VerbMenu';
import { ReadyLabel } from './Templates';
import { useTemplateVerbs } from './verbs';

export default function TemplatePage() {
  const { t } = useTranslation();
  const format = useFormat();
  const names = useNames();
  const srName = useSrName();
  const navigate = useNavigate();
  const verbs = useTemplateVerbs();
  const { template: reference = '' } = useParams();
  const read = useRead('template.get', { template: reference });
  const template = read.data;
  if (read.isPending) return <Loading />;
  if (!template) return <Failed error={read.error} retry={() => void read.refetch()} />;
  const { platform } = template;
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <PageHead
        up={['/templates', t('Templates')]}
        title={template.name}
        labels={<ReadyLabel template={template} />}
        below={template.description && <span>{template.description}</span>}
        actions={<VerbMenu labelled name={template.name} verbs={verbs(template, () => void navigate('/templates'))} />}
      />
      <div className="x-cards">
        <Card isCompact>
          <CardTitle component="h2">{t('What a VM gets')}</CardTitle>
          <CardBody>
            <Facts
              facts={[
                [t('Kind'), platform.kind.toUpperCase()],
                platform.kind === 'hvm' ? [t('Firmware'), (platform.firmware ?? 'bios').toUpperCase()] : [t('Kernel'), platform.boot.kernel],
                [t('vCPUs'), template.vcpus.online],
                [t('Memory'), format.mib(template.memory.target)],
                [t('Display'), template.graphics === 'vnc' ? 'VNC' : t('none')],
              ]}
            />
          </CardBody>
        </Card>
        <Card isCompact>
          <CardTitle component="h2">{t('About it')}</CardTitle>
          <CardBody>
            <Facts
              facts={[
                [t('Host'), <Link key="h" to={`/hosts/${template.host}`}>{names.host(template.host)}</Link>],
                [t('Pool'), names.pool(template.pool)],
                [t('Created'), format.date(template.created)],
                [t('Id'), <Id key="i" id={template.id} />],
              ]}
            />
          </CardBody>
        </Card>
        <Card isCompact>
          <CardTitle component="h2">{t('Disks')}</CardTitle>
          <CardBody>
            <Table variant="compact" borders={false} aria-label={t('Disks')}>
              <Thead>
                <Tr>
                  <Th>{t('Device')}</Th>
                  <Th>{t('Size')}</Th>
                  <Th>{t('Storage')}</Th>
                </Tr>
              </Thead>
              <Tbody>
                {template.disks.map((disk) => (
                  <Tr key={disk.device}>
                    <Td dataLabel={t('Device')}>
                      <code>{disk.device}</code>
                    </Td>
                    <Td dataLabel={t('Size')}>{disk.size ? format.bytes(disk.size) : t('not known yet')}</Td>
                    <Td dataLabel={t('Storage')}>
                      <Link to={`/storage/${disk.sr}`}>{srName(disk.sr)}</Link>
                    </Td>
                  </Tr>
                ))}
              </Tbody>
            </Table>
          </CardBody>
        </Card>
      </div>
    </PageSection>
  );
}
