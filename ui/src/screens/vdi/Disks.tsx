// Virtual disk images, attached or not.

import DiskIcon from '@patternfly/react-icons/dist/esm/icons/hdd-icon';
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import type { Sr, Vdi } from '../../api/generated';
import { msg } from '../../i18n/msg';
import type { Column } from '../../list/columns';
import { ListView } from '../../list/ListView';
import { useBulk } from '../../list/useBulk';
import { usePages } from '../../list/pages';
import { QueryBar } from '../../list/QueryBar';
import { useLiveRows } from '../../live/rows';
import { CreateButton } from '../../parts/CreateButton';
import { Nothing } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { useNames, useSrName, useVmNames } from '../../parts/names';
import { useUrlState } from '../../parts/url';
import { VerbMenu } from '../../parts/VerbMenu';
import { WhyButton } from '../../parts/WhyButton';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { CloneDisk, CreateDisk, ImportDisk, ResizeDisk } from './dialogs';
import { DiskElsewhere } from './Elsewhere';
import { Lease } from './Lease';
import { UploadDisk } from './UploadDisk';
import { useVdiVerbs } from './verbs';

type Of = 'resize' | 'clone' | 'copy' | 'move' | 'lease';
type Form = { kind: 'create' | 'import' | 'upload' } | { kind: Of; vdi: Vdi };

/** `within`: shown on another page, only those that pass this filter; `sr`: that page is its. */
export default function Disks({ within, sr }: { within?: string; sr?: Sr }) {
  const { t } = useTranslation();
  const user = useUser();
  const format = useFormat();
  const names = useNames();
  const srName = useSrName();
  const verbs = useVdiVerbs();
  const [query, setQuery] = useUrlState('q');
  const [sort, setSort] = useUrlState('sort');
  const [form, setForm] = useState<Form>();
  const filter = within ? (query ? `${within} (${query})` : within) : (query ?? '');
  const pages = usePages('vdi.list', { filter, sort: sort ?? '' });
  useLiveRows('vdi', filter, sort ?? '');
  const owners = useMemo(() => pages.rows.flatMap((vdi) => (vdi.attached_to ? [vdi.attached_to] : [])), [pages.rows]);
  const vmName = useVmNames(owners);
  const columns = useMemo((): Column<Vdi>[] => [
    { key: 'name', header: msg('Name'), sort: 'name', cell: (vdi) => <strong>{vdi.name}</strong>, text: (vdi) => vdi.name },
    { key: 'size', header: msg('Size'), sort: 'size', width: 7, cell: (vdi) => format.bytes(vdi.size), text: (vdi) => String(vdi.size) },
    {
      key: 'vm',
      header: msg('Attached to'),
      sort: 'vm',
      width: 12,
      cell: (vdi) => (vdi.attached_to ? <Link to={`/vms/${vdi.attached_to}/disks`}>{vmName(vdi.attached_to) ?? t('a VM')}</Link> : <span className="x-dim">{t('nothing')}</span>),
      text: (vdi) => (vdi.attached_to ? (vmName(vdi.attached_to) ?? vdi.attached_to) : ''),
    },
    { key: 'host', header: msg('Host'), sort: 'host', width: 9, wide: true, cell: (vdi) => <Link to={`/hosts/${vdi.host}`}>{names.host(vdi.host)}</Link>, text: (vdi) => names.host(vdi.host) },
    { key: 'sr', header: msg('Storage'), width: 10, wide: true, optional: !!within, cell: (vdi) => <Link to={`/storage/${vdi.sr}`}>{srName(vdi.sr)}</Link>, text: (vdi) => srName(vdi.sr) },
    { key: 'id', header: msg('Id'), optional: true, cell: (vdi) => <code>{vdi.id}</code>, text: (vdi) => vdi.id },
  ], [format, names, srName, vmName, within, t]);
  const why = mayNot(user, 'vdi.create');
  const create = (
    <>
      <CreateButton secondary={!!within} label={t('Create a disk')} why={why} go={() => setForm({ kind: 'create' })} />
      <WhyButton variant="secondary" why={why} go={() => setForm({ kind: 'import' })}>
        {t('Import an image')}
      </WhyButton>
      <WhyButton variant="secondary" why={why} go={() => setForm({ kind: 'upload' })}>
        {t('Upload a file')}
      </WhyButton>
    </>
  );
  const close = () => setForm(undefined);
  const open = (kind: Of, vdi: Vdi) => () => setForm({ kind, vdi });
  const verbsOf = (vdi: Vdi) => verbs(vdi, { resize: open('resize', vdi), clone: open('clone', vdi), copy: open('copy', vdi), move: open('move', vdi), lease: open('lease', vdi) });
  const bulk = useBulk({ rows: pages.rows, id: (vdi) => vdi.id, name: (vdi) => vdi.name, verbs: verbsOf });
  return (
    <>
      <ListView
        title={t('Disks')}
        heading={within ? 'h2' : 'h1'}
        about={within ? undefined : t('Virtual disk images. Those of VMs are attached and detached on the VM’s page.')}
        noun="disks"
        columns={columns}
        pages={pages}
        id={(vdi) => vdi.id}
        name={(vdi) => vdi.name}
        filtered={!!query}
        clear={() => setQuery(null)}
        sort={sort ?? ''}
        setSort={setSort}
        query={<QueryBar value={query ?? ''} set={setQuery} noun="vdi" label={t('Filter disks')} placeholder={t('Filter: attached:no size:>100GiB host:xen1, or words')} />}
        {...bulk.list}
        create={create}
        actions={(vdi) => <VerbMenu name={vdi.name} verbs={verbsOf(vdi)} />}
        menu
        empty={
          <Nothing icon={DiskIcon} title={within ? t('No disks here') : t('No disks yet')}>
            {t('Disks are made with their VM, or here to be attached later.')}
          </Nothing>
        }
      />
      {form?.kind === 'create' && <CreateDisk within={sr} close={close} />}
      {form?.kind === 'import' && <ImportDisk within={sr} close={close} />}
      {form?.kind === 'upload' && <UploadDisk within={sr} close={close} />}
      {form?.kind === 'resize' && <ResizeDisk vdi={form.vdi} close={close} />}
      {form?.kind === 'clone' && <CloneDisk vdi={form.vdi} close={close} />}
      {(form?.kind === 'copy' || form?.kind === 'move') && <DiskElsewhere vdi={form.vdi} move={form.kind === 'move'} close={close} />}
      {form?.kind === 'lease' && <Lease vdi={form.vdi} close={close} />}
      {bulk.dialog}
    </>
  );
}
