// The certificates of this installation: what browsers are shown, the authority behind it, and those of the hosts.

import { Button, Card, CardBody, CardTitle, Content, Label, PageSection } from '@patternfly/react-core';
import OkIcon from '@patternfly/react-icons/dist/esm/icons/check-circle-icon';
import BadIcon from '@patternfly/react-icons/dist/esm/icons/exclamation-circle-icon';
import LateIcon from '@patternfly/react-icons/dist/esm/icons/exclamation-triangle-icon';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import { useRead } from '../../api/client';
import type { Host, SystemInfo } from '../../api/generated';
import { useAll } from '../../list/all';
import { download } from '../../list/columns';
import { Facts } from '../../parts/Facts';
import { ErrorBox, Failed, Loading } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { Id } from '../../parts/Id';
import { PageTitle } from '../../parts/PageTitle';
import { HostLabel } from '../../parts/state';
import { expiry, type Kind } from './expiry';

/** Of the hosts: those that end first. More would be a list to scroll through, in which nothing is to be done. */
const MOST = 50;

export default function Certificates() {
  const { t } = useTranslation();
  const info = useRead('system.info', {}, { every: 60_000 });
  if (info.isPending) return <Loading />;
  if (!info.data) return <Failed error={info.error} retry={() => void info.refetch()} />;
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <PageTitle>{t('Certificates')}</PageTitle>
      <Content component="p" className="x-dim">
        {t('Who shows what to whom. What the authority signs is renewed at half of its life, without anybody.')}
      </Content>
      <div className="x-cards">
        <Shown info={info.data} />
        <Authority info={info.data} />
      </div>
      <Hosts />
    </PageSection>
  );
}

/** When it ends, and by word and icon whether that is a reason to look. */
function Ends({ kind, at }: { kind: Kind; at: string }) {
  const { t } = useTranslation();
  const format = useFormat();
  const left = expiry(kind, at);
  const label = { fine: t('Valid'), late: t('Ends soon'), over: t('Has ended') }[left];
  const icon = { fine: <OkIcon />, late: <LateIcon />, over: <BadIcon /> }[left];
  const color = { fine: 'green' as const, late: 'orange' as const, over: 'red' as const }[left];
  return (
    <span className="x-labels">
      <time dateTime={at} title={format.date(at)}>
        {format.ago(at)}
      </time>
      <Label isCompact variant="outline" color={color} icon={icon}>
        {label}
      </Label>
    </span>
  );
}

function Shown({ info }: { info: SystemInfo }) {
  const { t } = useTranslation();
  const { certificate } = info;
  return (
    <Card isCompact>
      <CardTitle component="h2">{t('What browsers and the command line are shown')}</CardTitle>
      <CardBody>
        {certificate ? (
          <>
            <Facts
              facts={[
                [t('Ends'), <Ends key="e" kind={certificate.from_files ? 'files' : 'own'} at={certificate.expires} />],
                [t('SHA-256'), <Id key="f" id={certificate.fingerprint} />],
                [t('From'), certificate.from_files ? t('files of an administrator') : t('our own authority')],
              ]}
            />
            <p className="x-dim x-above">
              {certificate.from_files
                ? t('Renew it in its files: they are read again within an hour, without a restart. A pair that does not fit changes nothing.')
                : t('A browser warns of it until the authority is trusted there. To show another: certificate and key in the settings file of the orchestrator.')}
            </p>
          </>
        ) : (
          <p className="x-dim">{t('It cannot be read.')}</p>
        )}
      </CardBody>
    </Card>
  );
}

function Authority({ info }: { info: SystemInfo }) {
  const { t } = useTranslation();
  const pem = info.authority_pem;
  return (
    <Card isCompact>
      <CardTitle component="h2">{t('Authority')}</CardTitle>
      <CardBody>
        <Facts
          facts={[
            info.authority_expires ? [t('Ends'), <Ends key="e" kind="authority" at={info.authority_expires} />] : undefined,
            [t('SHA-256'), <Id key="f" id={info.authority} />],
          ]}
        />
        <p className="x-dim x-above">{t('It signs the certificates of the orchestrator and of the hosts. Compare its digits with what the orchestrator printed when it started, before you trust it.')}</p>
        {pem && (
          <Button variant="secondary" className="x-above" onClick={() => download('xenith-authority.pem', pem, 'application/x-pem-file')}>
            {t('Save its certificate')}
          </Button>
        )}
      </CardBody>
    </Card>
  );
}

const soonestFirst = (a: Host, b: Host) => a.certificate_expires.localeCompare(b.certificate_expires) || a.name.localeCompare(b.name);

function Hosts() {
  const { t } = useTranslation();
  const read = useAll('host.list', {}, { every: 60_000 });
  if (read.isPending) return <Loading lines={3} />;
  if (!read.data) return <ErrorBox error={read.error} retry={() => void read.refetch()} />;
  const hosts = read.data.filter((host) => host.status !== 'enrolling').sort(soonestFirst);
  const shown = hosts.slice(0, MOST);
  return (
    <Card isCompact className="x-above">
      <CardTitle component="h2">{t('Hosts')}</CardTitle>
      <CardBody>
        {shown.length === 0 ? (
          <p className="x-dim">{t('No hosts yet')}</p>
        ) : (
          <Table variant="compact" borders={false} aria-label={t('Certificates of hosts')}>
            <Thead>
              <Tr>
                <Th>{t('Host')}</Th>
                <Th>{t('State')}</Th>
                <Th>{t('Ends')}</Th>
              </Tr>
            </Thead>
            <Tbody>
              {shown.map((host) => (
                <Tr key={host.id}>
                  <Td dataLabel={t('Host')}>
                    <Link to={`/hosts/${host.id}`}>{host.name}</Link>
                  </Td>
                  <Td dataLabel={t('State')}>
                    <HostLabel status={host.status} maintenance={host.maintenance} />
                  </Td>
                  <Td dataLabel={t('Ends')}>
                    <Ends kind="host" at={host.certificate_expires} />
                  </Td>
                </Tr>
              ))}
            </Tbody>
          </Table>
        )}
        {hosts.length > shown.length && <p className="x-dim x-above">{t('The {{shown}} of {{all}} that end first.', { shown: shown.length, all: hosts.length })}</p>}
        <p className="x-dim x-above">{t('A host whose certificate has ended joins anew with a token; its VMs run on. One that is removed is refused at once.')}</p>
      </CardBody>
    </Card>
  );
}
