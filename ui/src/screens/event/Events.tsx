// What happened: found out by hosts and orchestrator, not asked for.

import EventIcon from '@patternfly/react-icons/dist/esm/icons/bell-icon';
import { useMemo } from 'react';
import { useTranslation } from 'react-i18next';
import type { Event } from '../../api/generated';
import { msg } from '../../i18n/msg';
import type { Column } from '../../list/columns';
import { ListView } from '../../list/ListView';
import { usePages } from '../../list/pages';
import { QueryBar } from '../../list/QueryBar';
import { Nothing } from '../../parts/feedback';
import { useFormat, type Format } from '../../parts/format';
import { SeverityLabel } from '../../parts/state';
import { Subject } from '../../parts/Subject';
import { useUrlState } from '../../parts/url';

export function eventColumns(format: Format): Column<Event>[] {
  return [
    { key: 'severity', header: msg('Severity'), width: 9, cell: (event) => <SeverityLabel severity={event.severity} />, text: (event) => event.severity },
    { key: 'message', header: msg('What happened'), cell: (event) => <Subject subject={event.subject}>{event.message}</Subject>, text: (event) => event.message },
    { key: 'kind', header: msg('Kind'), width: 6, wide: true, cell: (event) => <code>{event.kind}</code>, text: (event) => event.kind },
    {
      key: 'at',
      header: msg('When'),
      width: 8.5,
      cell: (event) => (
        <time dateTime={event.at} title={format.date(event.at)}>
          {format.ago(event.at)}
        </time>
      ),
      text: (event) => event.at,
    },
    { key: 'subject', header: msg('About'), optional: true, cell: (event) => <code>{event.subject}</code>, text: (event) => event.subject },
  ];
}

export default function Events() {
  const { t } = useTranslation();
  const format = useFormat();
  const columns = useMemo(() => eventColumns(format), [format]);
  const [query, setQuery] = useUrlState('q');
  const pages = usePages('event.list', { filter: query ?? '' });
  return (
    <ListView
      title={t('Events')}
      about={t('What hosts and orchestrator found out. What people asked for is in the audit log.')}
      noun="events"
      columns={columns}
      pages={pages}
      id={(event) => event.id}
      name={(event) => event.message}
      filtered={!!query}
      clear={() => setQuery(null)}
      query={<QueryBar value={query ?? ''} set={setQuery} noun="event" label={t('Filter events')} placeholder={t('Filter: severity:error kind:host age:<1d, or words')} />}
      empty={
        <Nothing icon={EventIcon} title={t('Nothing has happened yet')}>
          {t('Hosts that come and go, VMs that crash: it appears here as it happens.')}
        </Nothing>
      }
    />
  );
}
