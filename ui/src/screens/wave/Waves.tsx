// Waves: VMs of a source that move together, so many at a time.

import { Label, Progress } from '@patternfly/react-core';
import ImportIcon from '@patternfly/react-icons/dist/esm/icons/import-icon';
import { useMemo } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import type { Wave } from '../../api/generated';
import { msg } from '../../i18n/msg';
import type { Column } from '../../list/columns';
import { ListView } from '../../list/ListView';
import { useBulk } from '../../list/useBulk';
import { FALLBACK_MS } from '../../live/again';
import { usePages } from '../../list/pages';
import { QueryBar } from '../../list/QueryBar';
import { useListState } from '../../list/state';
import { Nothing } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { VerbMenu } from '../../parts/VerbMenu';
import { moved, part, STATUS, useWaveVerbs } from './words';

const nameOf = (wave: Wave) => wave.name;

export default function Waves() {
  const { t } = useTranslation();
  const format = useFormat();
  const verbs = useWaveVerbs();
  const { wanted, bar, list } = useListState('created');
  const pages = usePages('wave.list', wanted, FALLBACK_MS);
  const columns = useMemo(
    (): Column<Wave>[] => [
      { key: 'name', header: msg('Name'), sort: 'name', cell: (wave) => <Link to={`/waves/${wave.id}`}>{wave.name}</Link>, text: nameOf },
      { key: 'status', header: msg('State'), sort: 'status', width: 8, cell: (wave) => <Label isCompact variant="outline" color={STATUS[wave.status].color}>{t(STATUS[wave.status].label)}</Label>, text: (wave) => wave.status },
      { key: 'vms', header: msg('VMs moved'), width: 8, cell: (wave) => t('{{done}} of {{total}}', { done: moved(wave), total: wave.members.length }), text: (wave) => `${moved(wave)}/${wave.members.length}` },
      { key: 'part', header: msg('Progress'), width: 12, wide: true, cell: (wave) => <Progress size="sm" measureLocation="outside" aria-label={t('Progress of {{name}}', { name: wave.name })} value={part(wave) * 100} label={format.percent(part(wave))} />, text: (wave) => part(wave).toFixed(3) },
      { key: 'created', header: msg('Created'), sort: 'created', width: 11, wide: true, cell: (wave) => format.stamp(wave.created), text: (wave) => wave.created },
    ],
    [format, t],
  );
  const bulk = useBulk({ rows: pages.rows, id: (wave) => wave.id, name: nameOf, verbs: (wave) => verbs(wave) });
  return (
    <>
      <ListView
        title={t('Waves')}
        about={t('VMs of a source that move together, so many at a time.')}
        noun="waves"
        columns={columns}
        pages={pages}
        id={(wave) => wave.id}
        name={nameOf}
        {...list}
        {...bulk.list}
        query={<QueryBar {...bar} noun="wave" label={t('Filter waves')} placeholder={t('Filter: status:running age:<7d, or words')} />}
        actions={(wave) => <VerbMenu name={wave.name} verbs={verbs(wave)} />}
        menu
        empty={
          <Nothing icon={ImportIcon} title={t('No waves')} action={<Link to="/imports/new">{t('Take VMs out of vSphere')}</Link>}>
            {t('Choose the VMs in the wizard, then keep them as a wave instead of beginning at once.')}
          </Nothing>
        }
      />
      {bulk.dialog}
    </>
  );
}
