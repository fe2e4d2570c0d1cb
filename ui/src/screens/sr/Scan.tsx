// What is in an SR, held against what is known: disks of nobody, missing ones, damaged ones, what was left over.

import { Button, Card, CardBody, CardTitle } from '@patternfly/react-core';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useRead } from '../../api/client';
import type { Sr, SrScan } from '../../api/generated';
import { msg } from '../../i18n/msg';
import { Alert } from '../../parts/Alert';
import { ErrorBox, Loading } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { useNames } from '../../parts/names';
import { RowAction } from '../../parts/RowAction';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { AdoptVdi } from './dialogs';

export function Scan({ sr }: { sr: Sr }) {
  const { t } = useTranslation();
  const names = useNames();
  const read = useRead('sr.scan', { sr: sr.id });
  if (read.isPending) return <Loading lines={4} />;
  if (!read.data) return <ErrorBox error={read.error} retry={() => void read.refetch()} />;
  const scan = read.data;
  const fine = [scan.orphans, scan.missing, scan.damaged, scan.left_overs].every((list) => list.length === 0);
  const words = { count: scan.known, host: names.host(scan.host) };
  return (
    <>
      <div className="x-head x-gap">
        <p className="x-dim">{t('{{host}} looked: {{count}} disks are where they should be.', words)}</p>
        <Button variant="secondary" isLoading={read.isFetching} onClick={() => void read.refetch()}>
          {t('Look again')}
        </Button>
      </div>
      {fine ? (
        <Alert isInline variant="success" title={t('All is as it is known')}>
          {t('Nothing is missing, nothing is damaged, nothing is there that nobody knows.')}
        </Alert>
      ) : (
        <div className="x-stack">
          <Orphans scan={scan} again={() => void read.refetch()} />
          <List title={t('Missing')} text={t('They are known here and are not there. Restore them from a backup, or delete the disks.')} rows={scan.missing.map((vdi) => [vdi, ''])} />
          <List title={t('Damaged')} text={t('They are there and cannot be used.')} rows={scan.damaged.map(({ vdi, problem }) => [vdi, problem])} />
          <LeftOvers scan={scan} />
        </div>
      )}
    </>
  );
}

function Orphans({ scan, again }: { scan: SrScan; again: () => void }) {
  const { t } = useTranslation();
  const user = useUser();
  const format = useFormat();
  const [adopting, setAdopting] = useState<string>();
  if (scan.orphans.length === 0) return null;
  return (
    <Card isCompact>
      <CardTitle component="h2">{t('Disks of nobody')}</CardTitle>
      <CardBody>
        <p className="x-dim x-gap">{t('They are there and not known here: of a record that was lost, or left by something that failed.')}</p>
        <Table variant="compact" borders={false} aria-label={t('Disks of nobody')}>
          <Thead>
            <Tr>
              <Th>{t('Id')}</Th>
              <Th>{t('Size')}</Th>
              <Th>{t('Takes')}</Th>
              <Th screenReaderText={t('Actions')} />
            </Tr>
          </Thead>
          <Tbody>
            {scan.orphans.map(({ vdi, size, physical, snapshot_of }) => (
              <Tr key={vdi}>
                <Td dataLabel={t('Id')}>
                  <code className="x-wrap">{vdi}</code>
                </Td>
                <Td dataLabel={t('Size')}>{format.bytes(size)}</Td>
                <Td dataLabel={t('Takes')}>{format.bytes(physical)}</Td>
                <Td isActionCell>
                  <RowAction
                    label={t('Take in')}
                    name={vdi}
                    why={mayNot(user, 'sr.adopt') ?? (snapshot_of ? msg('It is a snapshot, which never changes; take in the disk that it is of.') : undefined)}
                    go={() => setAdopting(vdi)}
                  />
                </Td>
              </Tr>
            ))}
          </Tbody>
        </Table>
      </CardBody>
      {adopting && <AdoptVdi sr={scan.sr} vdi={adopting} close={() => setAdopting(undefined)} done={again} />}
    </Card>
  );
}

function List({ title, text, rows }: { title: string; text: string; rows: [string, string][] }) {
  if (rows.length === 0) return null;
  return (
    <Card isCompact>
      <CardTitle component="h2">{title}</CardTitle>
      <CardBody>
        <p className="x-dim x-gap">{text}</p>
        <ul className="x-plain x-lines">
          {rows.map(([id, problem]) => (
            <li key={id}>
              <code className="x-wrap">{id}</code>
              {problem && <span className="x-bad">{problem}</span>}
            </li>
          ))}
        </ul>
      </CardBody>
    </Card>
  );
}

function LeftOvers({ scan }: { scan: SrScan }) {
  const { t } = useTranslation();
  const format = useFormat();
  const rows = scan.left_overs.map(({ name, bytes, idle_s }): [string, string] => [name, t('{{size}}, not written for {{time}}', { size: format.bytes(bytes), time: format.duration(idle_s) })]);
  if (rows.length === 0) return null;
  return (
    <Card isCompact>
      <CardTitle component="h2">{t('Left over')}</CardTitle>
      <CardBody>
        <p className="x-dim x-gap">{t('Files that are no disks, such as the rest of a copy that broke off. Remove them on the host when nothing writes them.')}</p>
        <ul className="x-plain x-lines">
          {rows.map(([name, text]) => (
            <li key={name}>
              <code className="x-wrap">{name}</code>
              <span className="x-dim">{text}</span>
            </li>
          ))}
        </ul>
      </CardBody>
    </Card>
  );
}
