// Alarms that were raised and cleared: the events of them.

import EventIcon from '@patternfly/react-icons/dist/esm/icons/history-icon';
import { useMemo } from 'react';
import { useTranslation } from 'react-i18next';
import { ListView } from '../../list/ListView';
import { usePages } from '../../list/pages';
import { QueryBar } from '../../list/QueryBar';
import { Nothing } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { useUrlState } from '../../parts/url';
import { eventColumns } from '../event/Events';

const OF_ALARMS = 'kind:alarm.';

export function Past() {
  const { t } = useTranslation();
  const format = useFormat();
  const columns = useMemo(() => eventColumns(format).map((column) => (column.key === 'kind' ? { ...column, width: 9 } : column)), [format]);
  const [query, setQuery] = useUrlState('q');
  const pages = usePages('event.list', { filter: query ? `${OF_ALARMS} (${query})` : OF_ALARMS });
  return (
    <ListView
      title={t('Raised and cleared')}
      heading="h2"
      noun="past-alarms"
      columns={columns}
      pages={pages}
      id={(event) => event.id}
      name={(event) => event.message}
      filtered={!!query}
      clear={() => setQuery(null)}
      query={<QueryBar value={query ?? ''} set={setQuery} noun="event" label={t('Filter past alarms')} placeholder={t('Filter: age:<7d kind:raised severity:error, or words')} />}
      empty={
        <Nothing icon={EventIcon} title={t('No alarm yet')}>
          {t('Each alarm leaves two events: when it was raised, and when it was over.')}
        </Nothing>
      }
    />
  );
}
