// Virtual disk images, attached or not.

import { Button } from '@patternfly/react-core';
import DiskIcon from '@patternfly/react-icons/dist/esm/icons/hdd-icon';
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import type { Vdi } from '../../api/generated';
import { msg } from '../../i18n/msg';
import { Bulk } from '../../list/Bulk';
import type { Column } from '../../list/columns';
import { ListView } from '../../list/ListView';
import { usePages } from '../../list/pages';
import { QueryBar } from '../../list/QueryBar';
import { useActs } from '../../parts/acts';
import { Nothing } from '../../parts/feedback';
import { ChoiceField, NumberField, TextField, useHostOptions } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';
import { useFormat } from '../../parts/format';
import { useNames } from '../../parts/names';
import { RowAction } from '../../parts/RowAction';
import { useUrlState } from '../../parts/url';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';

export default function Disks() {
  const { t } = useTranslation();
  const user = useUser();
  const format = useFormat();
  const names = useNames();
  const { ask } = useActs();
  const [query, setQuery] = useUrlState('q');
  const [making, setMaking] = useState(false);
  const [deleting, setDeleting] = useState(false);
  const [chosen, setChosen] = useState(new Map<string, Vdi>());
  const pages = usePages('vdi.list', { filter: query ?? '' });
  const columns = useMemo((): Column<Vdi>[] => [
    { key: 'name', header: msg('Name'), cell: (vdi) => <strong>{vdi.name}</strong>, text: (vdi) => vdi.name },
    { key: 'size', header: msg('Size'), width: 7, cell: (vdi) => format.bytes(vdi.size), text: (vdi) => String(vdi.size) },
    {
      key: 'vm',
      header: msg('Attached to'),
      width: 8,
      cell: (vdi) => (vdi.attached_to ? <Link to={`/vms/${vdi.attached_to}/disks`}>{t('a VM')}</Link> : <span className="x-dim">{t('nothing')}</span>),
      text: (vdi) => vdi.attached_to ?? '',
    },
    { key: 'host', header: msg('Host'), width: 9, wide: true, cell: (vdi) => <Link to={`/hosts/${vdi.host}`}>{names.host(vdi.host)}</Link>, text: (vdi) => names.host(vdi.host) },
    { key: 'sr', header: msg('SR'), optional: true, cell: (vdi) => <code>{vdi.sr}</code>, text: (vdi) => vdi.sr },
    { key: 'id', header: msg('Id'), optional: true, cell: (vdi) => <code>{vdi.id}</code>, text: (vdi) => vdi.id },
  ], [format, names, t]);
  const why = mayNot(user, 'vdi.create');
  const cannotDelete = (vdi: Vdi) => mayNot(user, 'vdi.delete') ?? (vdi.attached_to ? msg('A VM has it: detach it there first.') : undefined);
  const create = (
    <Button isAriaDisabled={!!why} title={why && t(why)} onClick={why ? undefined : () => setMaking(true)} data-create>
      {t('Create a disk')}
    </Button>
  );
  const remove = (vdi: Vdi) =>
    ask({
      method: 'vdi.delete',
      params: { vdi: vdi.id },
      title: t('Delete the disk {{name}}', { name: vdi.name }),
      text: t('All that is on it is lost.'),
      button: t('Delete'),
      typeName: vdi.name,
    });
  return (
    <>
      <ListView
        title={t('Disks')}
        about={t('Virtual disk images. Those of VMs are attached and detached on the VM’s page.')}
        noun="disks"
        columns={columns}
        pages={pages}
        id={(vdi) => vdi.id}
        name={(vdi) => vdi.name}
        filtered={!!query}
        clear={() => setQuery(null)}
        query={<QueryBar value={query ?? ''} set={setQuery} label={t('Filter disks')} placeholder={t('A part of the name')} />}
        selection={{ chosen, set: setChosen }}
        bulk={
          <Button variant="secondary" isDanger onClick={() => setDeleting(true)}>
            {t('Delete')}
          </Button>
        }
        create={create}
        actions={(vdi) => <RowAction label={t('Delete')} name={vdi.name} why={cannotDelete(vdi)} danger go={() => remove(vdi)} />}
        empty={
          <Nothing icon={DiskIcon} title={t('No disks yet')} action={create}>
            {t('Disks are made with their VM, or here to be attached later.')}
          </Nothing>
        }
      />
      {making && <CreateDisk close={() => setMaking(false)} />}
      {deleting && (
        <Bulk
          title={t('Delete {{count}} disks', { count: chosen.size })}
          text={t('All that is on them is lost.')}
          button={t('Delete')}
          danger
          method="vdi.delete"
          params={(id) => ({ vdi: id })}
          items={[...chosen.values()].map((vdi) => ({ id: vdi.id, name: vdi.name, cannot: cannotDelete(vdi) }))}
          close={() => {
            setDeleting(false);
            setChosen(new Map());
          }}
        />
      )}
    </>
  );
}

function CreateDisk({ close }: { close: () => void }) {
  const { t } = useTranslation();
  const hosts = useHostOptions();
  const [name, setName] = useState('');
  const [gib, setGib] = useState(10);
  const [host, setHost] = useState('');
  const on = host || hosts[0]?.[0] || '';
  const params = { name, size: gib * 1024 ** 3, host: on };
  return (
    <FormDialog act={{ method: 'vdi.create', params, title: t('Create a disk') }} button={t('Create')} ready={name !== '' && gib > 0 && on !== ''} close={close}>
      <TextField id="vdi-name" label={t('Name')} value={name} set={setName} required autoFocus />
      <NumberField id="vdi-size" label={t('Size (GiB)')} value={gib} set={setGib} min={1} max={65536} />
      <ChoiceField id="vdi-host" label={t('In the local storage of')} value={on} set={setHost} options={hosts} />
    </FormDialog>
  );
}
