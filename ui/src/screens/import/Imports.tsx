// VMs on their way to us, and those that came.

import { ClipboardCopy, Content, Label, Progress, ToggleGroup, ToggleGroupItem, ToolbarItem } from '@patternfly/react-core';
import ImportIcon from '@patternfly/react-icons/dist/esm/icons/import-icon';
import { useMemo } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useNavigate } from 'react-router';
import type { Import } from '../../api/generated';
import { msg } from '../../i18n/msg';
import type { Column } from '../../list/columns';
import { ListView } from '../../list/ListView';
import { useBulk } from '../../list/useBulk';
import { FALLBACK_MS } from '../../live/again';
import { usePages } from '../../list/pages';
import { QueryBar } from '../../list/QueryBar';
import { useListState } from '../../list/state';
import { CreateButton } from '../../parts/CreateButton';
import { Nothing } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { useUrlClear, useUrlState } from '../../parts/url';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { ImportVerb, useImportVerbs } from './verbs';
import { isOver, origin, PHASE, progress } from './words';

export default function Imports() {
  const { t } = useTranslation();
  const format = useFormat();
  const user = useUser();
  const navigate = useNavigate();
  const [archived, setArchived] = useUrlState('archived');
  const { wanted, bar, list } = useListState('-created');
  const clear = useUrlClear('q', 'archived');
  const pages = usePages('import.list', { ...wanted, archived: archived === 'yes' }, FALLBACK_MS);
  const columns = useMemo((): Column<Import>[] => [
    { key: 'name', header: msg('Name'), sort: 'name', cell: (row) => <Link to={`/imports/${row.id}`}>{row.name}</Link>, text: (row) => row.name },
    {
      key: 'phase',
      header: msg('State'),
      width: 13,
      cell: (row) => (
        <Label isCompact variant="outline" color={PHASE[row.phase].color}>
          {t(PHASE[row.phase].label)}
        </Label>
      ),
      text: (row) => row.phase,
    },
    {
      key: 'progress',
      header: msg('Copied'),
      wide: true,
      cell: (row) => (isOver(row) ? '—' : <Progress size="sm" measureLocation="outside" aria-label={row.name} value={progress(row) * 100} label={format.percent(progress(row))} />),
      text: (row) => progress(row).toFixed(3),
    },
    { key: 'origin', header: msg('From'), wide: true, cell: origin, text: origin },
    { key: 'created', header: msg('Begun'), sort: 'created', width: 9, cell: (row) => <time dateTime={row.created} title={format.date(row.created)}>{format.ago(row.created)}</time>, text: (row) => row.created },
    { key: 'message', header: msg('Message'), optional: true, cell: (row) => row.message ?? '—', text: (row) => row.message ?? '' },
  ], [format, t]);
  const create = (
    <>
      <CreateButton label={t('Take VMs out of vSphere')} why={mayNot(user, 'import.start')} go={() => void navigate('/imports/new')} />
      <CreateButton secondary label={t('Make a VM from a file')} why={mayNot(user, 'import.upload')} go={() => void navigate('/imports/upload')} />
      <CreateButton secondary label={t('Waves')} why={mayNot(user, 'wave.list')} go={() => void navigate('/waves')} />
    </>
  );
  const bulk = useBulk({ rows: pages.rows, id: (row) => row.id, name: (row) => row.name, verbs: useImportVerbs() });
  return (
    <>
      <ListView
        title={t('Imports')}
        about={t('VMs that come from a file or from VMware.')}
        noun="imports"
        columns={columns}
        pages={pages}
        id={(row) => row.id}
        name={(row) => row.name}
        {...list}
        {...bulk.list}
        filtered={list.filtered || archived === 'yes'}
        clear={clear}
        query={<QueryBar {...bar} noun="import" label={t('Filter imports')} placeholder={t('Filter: phase:following host:xen1, or words')} />}
        create={create}
        actions={(row) => <ImportVerb row={row} />}
        extra={
          <ToolbarItem>
            <ToggleGroup isCompact aria-label={t('Which imports')}>
              <ToggleGroupItem text={t('Current')} buttonId="imports-current" isSelected={archived !== 'yes'} onChange={() => setArchived(null)} />
              <ToggleGroupItem text={t('Archived, too')} buttonId="imports-all" isSelected={archived === 'yes'} onChange={() => setArchived('yes')} />
            </ToggleGroup>
          </ToolbarItem>
        }
        empty={
          <Nothing icon={ImportIcon} title={t('No imports yet')}>
            <Content component="p">{t('Take VMs out of a vCenter or an ESXi host while they run, or make one from an OVA, VMDK, qcow2 or VHD of this computer. A file that is elsewhere goes straight to a host:')}</Content>
            <ClipboardCopy isReadOnly isCode hoverTip={t('Copy')} clickTip={t('Copied')} textAriaLabel={t('Command line')}>
              xenith import upload FILE.ova
            </ClipboardCopy>
          </Nothing>
        }
      />
      {bulk.dialog}
    </>
  );
}
