// What VMs are made from.

import { Label } from '@patternfly/react-core';
import TemplateIcon from '@patternfly/react-icons/dist/esm/icons/blueprint-icon';
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import type { Template } from '../../api/generated';
import { msg } from '../../i18n/msg';
import type { Column } from '../../list/columns';
import { ListView } from '../../list/ListView';
import { useBulk } from '../../list/useBulk';
import { usePages } from '../../list/pages';
import { QueryBar } from '../../list/QueryBar';
import { useListState } from '../../list/state';
import { Ago } from '../../parts/Ago';
import { CreateButton } from '../../parts/CreateButton';
import { Nothing } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { useNames } from '../../parts/names';
import { VerbMenu } from '../../parts/VerbMenu';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { ImportTemplate, SetFragments } from './dialogs';
import { useTemplateVerbs } from './verbs';

const sizeOf = (template: Template) => template.disks.reduce((sum, disk) => sum + (disk.size ?? 0), 0);

export function ReadyLabel({ template }: { template: Template }) {
  const { t } = useTranslation();
  return (
    <Label isCompact variant="outline" color={template.ready ? 'green' : 'blue'}>
      {template.ready ? t('Ready') : t('Coming')}
    </Label>
  );
}

export default function Templates() {
  const { t } = useTranslation();
  const user = useUser();
  const format = useFormat();
  const names = useNames();
  const { wanted, bar, list } = useListState();
  const [importing, setImporting] = useState(false);
  const [choosing, setChoosing] = useState<Template>();
  const verbs = useTemplateVerbs(setChoosing);
  const pages = usePages('template.list', wanted);
  const columns = useMemo((): Column<Template>[] => [
    { key: 'name', header: msg('Name'), sort: 'name', cell: (row) => <Link to={`/templates/${row.id}`}>{row.name}</Link>, text: (row) => row.name },
    { key: 'ready', header: msg('State'), sort: 'ready', width: 8, cell: (row) => <ReadyLabel template={row} />, text: (row) => String(row.ready) },
    { key: 'size', header: msg('Disks'), width: 9, cell: (row) => (sizeOf(row) ? format.bytes(sizeOf(row)) : '—'), text: (row) => String(sizeOf(row)) },
    { key: 'vcpus', header: msg('vCPUs'), width: 6, wide: true, cell: (row) => format.number(row.vcpus.online), text: (row) => String(row.vcpus.online) },
    { key: 'memory', header: msg('Memory'), width: 7, wide: true, cell: (row) => format.mib(row.memory.target), text: (row) => String(row.memory.target) },
    { key: 'kind', header: msg('Kind'), sort: 'kind', width: 6, wide: true, cell: (row) => row.platform.kind.toUpperCase(), text: (row) => row.platform.kind },
    { key: 'host', header: msg('Host'), sort: 'host', width: 9, wide: true, cell: (row) => <Link to={`/hosts/${row.host}`}>{names.host(row.host)}</Link>, text: (row) => names.host(row.host) },
    { key: 'description', header: msg('Description'), wide: true, cell: (row) => row.description || '—', text: (row) => row.description },
    { key: 'created', header: msg('Created'), sort: 'created', width: 9, optional: true, cell: (row) => <Ago at={row.created} />, text: (row) => row.created },
    { key: 'id', header: msg('Id'), optional: true, cell: (row) => <code>{row.id}</code>, text: (row) => row.id },
  ], [format, names]);
  const bulk = useBulk({ rows: pages.rows, id: (row) => row.id, name: (row) => row.name, verbs: (row) => verbs(row) });
  const create = <CreateButton label={t('Import an image')} why={mayNot(user, 'template.import')} go={() => setImporting(true)} />;
  return (
    <>
      <ListView
        title={t('Templates')}
        about={t('What VMs are made from: an image from the web, or a VM as it was.')}
        noun="templates"
        columns={columns}
        pages={pages}
        id={(row) => row.id}
        name={(row) => row.name}
        {...list}
        {...bulk.list}
        query={<QueryBar {...bar} noun="template" label={t('Filter templates')} placeholder={t('Filter: kind:hvm ready:yes age:>90d, or words')} />}
        create={create}
        actions={(row) => <VerbMenu name={row.name} verbs={verbs(row)} />}
        menu
        empty={
          <Nothing icon={TemplateIcon} title={t('No templates yet')}>
            {t('Import a distribution’s cloud image, or make a template from a VM: in its menu.')}
          </Nothing>
        }
      />
      {bulk.dialog}
      {importing && <ImportTemplate close={() => setImporting(false)} />}
      {choosing && <SetFragments template={choosing} close={() => setChoosing(undefined)} />}
    </>
  );
}
