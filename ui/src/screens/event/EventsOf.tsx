// The events about one thing, of the newest that there are.

import EventIcon from '@patternfly/react-icons/dist/esm/icons/bell-icon';
import { useMemo } from 'react';
import { useTranslation } from 'react-i18next';
import { useRead } from '../../api/client';
import { ListView } from '../../list/ListView';
import { Nothing } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { eventColumns } from './Events';

/** The API gives all events; so many are looked through. */
const MOST = 1000;

export function EventsOf({ subject }: { subject: string }) {
  const { t } = useTranslation();
  const format = useFormat();
  const columns = useMemo(() => eventColumns(format), [format]);
  const read = useRead('event.list', { limit: MOST });
  const rows = useMemo(() => (read.data?.items ?? []).filter((event) => event.subject === subject), [read.data, subject]);
  return (
    <ListView
      title={t('Events')}
      heading="h2"
      noun="events"
      columns={columns}
      pages={{ rows, total: rows.length, pending: read.isPending, error: read.error, retry: () => void read.refetch(), everything: () => Promise.resolve(rows) }}
      id={(event) => event.id}
      name={(event) => event.message}
      empty={
        <Nothing icon={EventIcon} title={t('Nothing has happened yet')}>
          {t('None of the newest {{count}} events is about it.', { count: MOST })}
        </Nothing>
      }
    />
  );
}
