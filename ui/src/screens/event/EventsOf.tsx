// The events about one thing.

import EventIcon from '@patternfly/react-icons/dist/esm/icons/bell-icon';
import { useMemo } from 'react';
import { useTranslation } from 'react-i18next';
import { ListView } from '../../list/ListView';
import { usePages } from '../../list/pages';
import { Nothing } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { eventColumns } from './Events';

/** `subject` is `vm/…` or `host/…`. */
export function EventsOf({ subject }: { subject: string }) {
  const { t } = useTranslation();
  const format = useFormat();
  const columns = useMemo(() => eventColumns(format), [format]);
  const pages = usePages('event.list', { filter: `subject:${subject}` });
  return (
    <ListView
      title={t('Events')}
      heading="h2"
      noun="events"
      columns={columns}
      pages={pages}
      id={(event) => event.id}
      name={(event) => event.message}
      empty={
        <Nothing icon={EventIcon} title={t('Nothing has happened yet')}>
          {t('None of the events that are kept is about it.')}
        </Nothing>
      }
    />
  );
}
