// What hosts and records do not agree on. Nothing of it is removed by itself: each line says what it is and what can be
// done about it.

import { Button, Label, ModalBody, ModalFooter, ModalHeader } from '@patternfly/react-core';
import OkIcon from '@patternfly/react-icons/dist/esm/icons/check-circle-icon';
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import type { Orphan, OrphanKind } from '../../api/generated';
import { msg } from '../../i18n/msg';
import type { Column } from '../../list/columns';
import { quoted } from '../../list/filter';
import { ListView } from '../../list/ListView';
import { usePages } from '../../list/pages';
import { QueryBar } from '../../list/QueryBar';
import { useListState } from '../../list/state';
import { Ago } from '../../parts/Ago';
import { Facts } from '../../parts/Facts';
import { Nothing } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { Modal } from '../../parts/Modal';
import { Subject } from '../../parts/Subject';

const ORPHAN: Record<OrphanKind, string> = {
  definition: msg('Unknown VM'),
  domain: msg('Unknown domain'),
  elsewhere: msg('VM on another host'),
  lost: msg('Lost VM'),
  image: msg('Unknown image'),
  missing: msg('Missing disk'),
  damaged: msg('Damaged image'),
  'left-over': msg('Left-over file'),
  record: msg('Record of nothing'),
};

export default function Orphans() {
  const { t } = useTranslation();
  const { wanted, bar, list } = useListState();
  const [shown, setShown] = useState<Orphan>();
  const pages = usePages('orphan.list', wanted, 15_000);
  const columns = useMemo((): Column<Orphan>[] => [
    { key: 'kind', header: msg('Kind'), sort: 'kind', width: 11, cell: ({ kind }) => <Label isCompact variant="outline" color="orange">{t(ORPHAN[kind])}</Label>, text: ({ kind }) => kind },
    {
      key: 'name',
      header: msg('Name'),
      sort: 'name',
      cell: (orphan) => (
        <Button variant="link" isInline onClick={() => setShown(orphan)}>
          {orphan.name}
        </Button>
      ),
      text: ({ name }) => name,
    },
    { key: 'message', header: msg('What can be done'), wide: true, cell: ({ message }) => message, text: ({ message }) => message },
    { key: 'host', header: msg('Host'), sort: 'host', width: 8, wide: true, cell: ({ host }) => host ?? '—', text: ({ host }) => host ?? '' },
    { key: 'since', header: msg('Found'), sort: 'since', width: 8.5, cell: ({ since }) => <Ago at={since} />, text: ({ since }) => since },
    { key: 'subject', header: msg('About'), optional: true, cell: ({ subject }) => <code>{subject}</code>, text: ({ subject }) => subject },
    { key: 'id', header: msg('Id'), optional: true, cell: ({ id }) => <code>{id}</code>, text: ({ id }) => id },
  ], [t]);
  return (
    <>
      <ListView
        title={t('Orphans')}
        about={t('What hosts and records do not agree on. Nothing is removed by itself: each line says what can be done.')}
        noun="orphans"
        columns={columns}
        pages={pages}
        id={(orphan) => orphan.id}
        name={(orphan) => orphan.name}
        {...list}
        query={<QueryBar {...bar} noun="orphan" label={t('Filter orphans')} placeholder={t('Filter: kind:image host:xen1 age:>1d, or words')} />}
        empty={
          <Nothing icon={OkIcon} title={t('Everything agrees')}>
            {t('Every VM, disk and domain on the hosts is in the records, and the other way round. Hosts that are away were not asked.')}
          </Nothing>
        }
      />
      {shown && <Details orphan={shown} close={() => setShown(undefined)} />}
    </>
  );
}

/** A link where there is a page: of VMs and disks that are recorded. */
function About({ orphan }: { orphan: Orphan }) {
  const subject = <code>{orphan.subject}</code>;
  if (orphan.kind === 'elsewhere' || orphan.kind === 'lost') return <Subject subject={orphan.subject}>{subject}</Subject>;
  if (orphan.kind === 'missing') return <Link to={`/disks?q=${encodeURIComponent(quoted(orphan.name))}`}>{subject}</Link>;
  return subject;
}

function Details({ orphan, close }: { orphan: Orphan; close: () => void }) {
  const { t } = useTranslation();
  const format = useFormat();
  return (
    <Modal isOpen variant="small" onClose={close} aria-labelledby="orphan-title">
      <ModalHeader title={orphan.name} labelId="orphan-title" description={t(ORPHAN[orphan.kind])} />
      <ModalBody tabIndex={0} aria-labelledby="orphan-title">
        <p className="x-gap">{orphan.message}</p>
        <Facts
          facts={[
            [t('Host'), orphan.host ?? '—'],
            [t('Found'), format.date(orphan.since)],
            [t('About'), <About key="about" orphan={orphan} />],
          ]}
        />
      </ModalBody>
      <ModalFooter>
        <Button onClick={close}>{t('Close')}</Button>
      </ModalFooter>
    </Modal>
  );
}
