// Pools: hosts that share networks and storage.

import PoolIcon from '@patternfly/react-icons/dist/esm/icons/cubes-icon';
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import { useRead } from '../../api/client';
import type { Pool } from '../../api/generated';
import { msg } from '../../i18n/msg';
import type { Column } from '../../list/columns';
import { ListView } from '../../list/ListView';
import { useBulk } from '../../list/useBulk';
import { usePages } from '../../list/pages';
import { QueryBar } from '../../list/QueryBar';
import { useListState } from '../../list/state';
import { CreateButton } from '../../parts/CreateButton';
import { Nothing } from '../../parts/feedback';
import { TextField } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';
import { VerbMenu } from '../../parts/VerbMenu';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { usePoolVerbs } from './verbs';

const nameOf = (pool: Pool) => pool.name;

export default function Pools() {
  const { t } = useTranslation();
  const user = useUser();
  const { verbs, dialogs } = usePoolVerbs();
  const [making, setMaking] = useState(false);
  const hosts = useRead('host.list', { limit: 1000 });
  const { wanted, bar, list } = useListState();
  const pages = usePages('pool.list', wanted);
  const columns = useMemo((): Column<Pool>[] => {
    const count = (pool: Pool) => hosts.data?.items.filter((host) => host.pool === pool.id).length ?? 0;
    return [
      { key: 'name', header: msg('Name'), sort: 'name', cell: (pool) => <Link to={`/pools/${pool.id}`}>{pool.name}</Link>, text: nameOf },
      { key: 'hosts', header: msg('Hosts'), width: 8, cell: (pool) => t('{{count}} hosts', { count: count(pool) }), text: (pool) => String(count(pool)) },
      { key: 'description', header: msg('Description'), wide: true, cell: (pool) => pool.description || '—', text: (pool) => pool.description ?? '' },
      { key: 'id', header: msg('Id'), optional: true, cell: (pool) => <code>{pool.id}</code>, text: (pool) => pool.id },
    ];
  }, [hosts.data, t]);
  const bulk = useBulk({ rows: pages.rows, id: (pool) => pool.id, name: nameOf, verbs: (pool) => verbs(pool) });
  const why = mayNot(user, 'pool.create');
  const create = <CreateButton label={t('Create a pool')} why={why} go={() => setMaking(true)} />;
  return (
    <>
      <ListView
        title={t('Pools')}
        about={t('Hosts that share networks and storage. Roles can be given for one pool.')}
        noun="pools"
        columns={columns}
        pages={pages}
        id={(pool) => pool.id}
        name={nameOf}
        {...list}
        {...bulk.list}
        query={<QueryBar {...bar} noun="pool" label={t('Filter pools')} placeholder={t('Filter: name:east, or words')} />}
        create={create}
        actions={(pool) => <VerbMenu name={pool.name} verbs={verbs(pool)} />}
        menu
        empty={<Nothing icon={PoolIcon} title={t('No pools you may see')} />}
      />
      {bulk.dialog}
      {making && <CreatePool close={() => setMaking(false)} />}
      {dialogs}
    </>
  );
}

function CreatePool({ close }: { close: () => void }) {
  const { t } = useTranslation();
  const [name, setName] = useState('');
  const [description, setDescription] = useState('');
  return (
    <FormDialog act={{ method: 'pool.create', params: { name, description }, title: t('Create a pool') }} button={t('Create')} ready={name !== ''} close={close}>
      <TextField id="pool-name" label={t('Name')} value={name} set={setName} required autoFocus />
      <TextField id="pool-description" label={t('Description')} value={description} set={setDescription} />
    </FormDialog>
  );
}
