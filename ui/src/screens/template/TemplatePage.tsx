// One template: what a VM gets that asks for nothing else, what its cloud-init is told, and its disks.

import { Card, CardBody, CardTitle, List, ListItem, OrderType, PageSection } from '@patternfly/react-core';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useNavigate, useParams } from 'react-router';
import { there, useRead } from '../../api/client';
import type { Template } from '../../api/generated';
import { Facts } from '../../parts/Facts';
import { Failed, Loading } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { Id } from '../../parts/Id';
import { useNames, useSrName } from '../../parts/names';
import { PageHead } from '../../parts/PageHead';
import { VerbMenu } from '../../parts/VerbMenu';
import { useFragments } from '../fragment/parts';
import { SetFragments } from './dialogs';
import { ReadyLabel } from './Templates';
import { useTemplateVerbs } from './verbs';

export default function TemplatePage() {
  const { t } = useTranslation();
  const format = useFormat();
  const names = useNames();
  const srName = useSrName();
  const navigate = useNavigate();
  const [choosing, setChoosing] = useState<Template>();
  const verbs = useTemplateVerbs(setChoosing);
  const { template: reference = '' } = useParams();
  const read = useRead('template.get', { template: reference });
  const template = there(read);
  if (read.isPending) return <Loading />;
  if (!template) return <Failed error={read.error} up={['/templates', t('Templates')]} retry={() => void read.refetch()} />;
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
        <Told template={template} />
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
      {choosing && <SetFragments template={choosing} close={() => setChoosing(undefined)} />}
    </PageSection>
  );
}

/** The fragments of its VMs. */
function Told({ template }: { template: Template }) {
  const { t } = useTranslation();
  const { name } = useFragments();
  const fragments = template.fragments ?? [];
  return (
    <Card isCompact>
      <CardTitle component="h2">{t('What cloud-init is told')}</CardTitle>
      <CardBody>
        {fragments.length === 0 ? (
          <p className="x-dim">{t('It has no fragments: only what a deployment says.')}</p>
        ) : (
          <List component="ol" type={OrderType.number} aria-label={t('Fragments')}>
            {fragments.map((id) => (
              <ListItem key={id}>
                <Link to={`/fragments/${id}`}>{name(id)}</Link>
              </ListItem>
            ))}
          </List>
        )}
      </CardBody>
    </Card>
  );
}
