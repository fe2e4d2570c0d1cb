// One import: how far each disk is, what it waits for, what each pass did.

import { Card, CardBody, CardTitle, Label, PageSection, Progress } from '@patternfly/react-core';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useTranslation } from 'react-i18next';
import { Link, useParams } from 'react-router';
import { there, useRead } from '../../api/client';
import { FALLBACK_MS } from '../../live/again';
import { Alert } from '../../parts/Alert';
import { Facts } from '../../parts/Facts';
import { Failed, Loading } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { useNames } from '../../parts/names';
import { PageHead } from '../../parts/PageHead';
import { Preparation } from './Preparation';
import { Resend } from './Resend';
import { ImportVerb } from './verbs';
import { origin, PHASE } from './words';

export default function ImportPage() {
  const { t } = useTranslation();
  const format = useFormat();
  const names = useNames();
  const { import: id = '' } = useParams();
  const read = useRead('import.get', { import: id }, { every: FALLBACK_MS });
  const row = there(read);
  if (read.isPending) return <Loading />;
  if (!row) return <Failed error={read.error} up={['/imports', t('Imports')]} retry={() => void read.refetch()} />;
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <PageHead
        up={['/imports', t('Imports')]}
        title={row.name}
        labels={
          <Label isCompact variant="outline" color={PHASE[row.phase].color}>
            {t(PHASE[row.phase].label)}
          </Label>
        }
        actions={<ImportVerb row={row} large />}
      />
      {row.message && <Alert isInline variant={row.phase === 'done' ? 'info' : 'warning'} title={row.message} />}
      {row.phase === 'uploading' && <Resend row={row} />}
      <div className="x-cards">
        <Card isCompact>
          <CardTitle component="h2">{t('Disks')}</CardTitle>
          <CardBody className="x-lines">
            {row.disks.map((disk) => (
              <Progress
                key={disk.vdi}
                size="sm"
                title={disk.name}
                value={disk.capacity > 0 ? (disk.done / disk.capacity) * 100 : 0}
                label={t('{{done}} of {{total}}', { done: format.bytes(disk.done), total: format.bytes(disk.capacity) })}
                aria-label={disk.name}
              />
            ))}
          </CardBody>
        </Card>
        <Card isCompact>
          <CardTitle component="h2">{t('About it')}</CardTitle>
          <CardBody>
            <Facts
              facts={[
                [t('From'), origin(row)],
                [t('VM'), <Link key="vm" to={`/vms/${row.vm}`}>{row.name}</Link>],
                [t('Host'), <Link key="host" to={`/hosts/${row.host}`}>{names.host(row.host)}</Link>],
                [t('Task'), <Link key="task" to={`/tasks/${row.task}`}>{t('Show the task')}</Link>],
                [t('Begun'), format.date(row.created)],
                [t('Ended'), format.date(row.ended)],
                row.cut_over_at != null && [t('Cuts over'), format.date(row.cut_over_at)],
              ]}
            />
          </CardBody>
        </Card>
        {row.preparation && <Preparation preparation={row.preparation} />}
        {row.passes.length > 0 && (
          <Card isCompact>
            <CardTitle component="h2">{t('Passes')}</CardTitle>
            <CardBody>
              <Table variant="compact" borders={false} aria-label={t('Passes')}>
                <Thead>
                  <Tr>
                    <Th>{t('Disk')}</Th>
                    <Th>{t('Method')}</Th>
                    <Th>{t('Read')}</Th>
                    <Th>{t('Written')}</Th>
                    <Th>{t('Took')}</Th>
                  </Tr>
                </Thead>
                <Tbody>
                  {row.passes.map((pass, index) => (
                    <Tr key={index}>
                      <Td dataLabel={t('Disk')}>{pass.disk}</Td>
                      <Td dataLabel={t('Method')} title={pass.reason}>
                        {pass.method}
                      </Td>
                      <Td dataLabel={t('Read')}>{format.bytes(pass.read)}</Td>
                      <Td dataLabel={t('Written')}>{format.bytes(pass.written)}</Td>
                      <Td dataLabel={t('Took')}>{format.duration(pass.milliseconds / 1000)}</Td>
                    </Tr>
                  ))}
                </Tbody>
              </Table>
            </CardBody>
          </Card>
        )}
      </div>
    </PageSection>
  );
}
