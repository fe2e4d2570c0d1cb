// Security groups: who may talk with the VMs that have a tag.

import ShieldIcon from '@patternfly/react-icons/dist/esm/icons/shield-alt-icon';
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import type { SecurityGroup } from '../../api/generated';
import { msg } from '../../i18n/msg';
import type { Column } from '../../list/columns';
import { quoted } from '../../list/filter';
import { ListView } from '../../list/ListView';
import { useBulk } from '../../list/useBulk';
import { usePages } from '../../list/pages';
import { QueryBar } from '../../list/QueryBar';
import { useListState } from '../../list/state';
import { CreateButton } from '../../parts/CreateButton';
import { Nothing } from '../../parts/feedback';
import { useNames } from '../../parts/names';
import { VerbMenu, type Verb } from '../../parts/VerbMenu';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { CreateGroup, SetRules } from './dialogs';
import { directionWords } from './rules';

export default function Groups() {
  const { t } = useTranslation();
  const user = useUser();
  const names = useNames();
  const { wanted, bar, list } = useListState();
  const [making, setMaking] = useState(false);
  const [changing, setChanging] = useState<SecurityGroup>();
  const pages = usePages('security_group.list', wanted);
  const columns = useMemo((): Column<SecurityGroup>[] => [
    { key: 'name', header: msg('Name'), sort: 'name', cell: (group) => <strong>{group.name}</strong>, text: (group) => group.name },
    { key: 'tag', header: msg('Tag'), sort: 'tag', width: 8, cell: (group) => <Link to={`/vms?q=${encodeURIComponent(`tag:${quoted(group.tag)}`)}`}>{group.tag}</Link>, text: (group) => group.tag },
    { key: 'ingress', header: msg('What may be sent to them'), cell: (group) => <code>{directionWords(group.ingress, t)}</code>, text: (group) => directionWords(group.ingress, t) },
    { key: 'egress', header: msg('What they may send'), wide: true, cell: (group) => <code>{directionWords(group.egress, t)}</code>, text: (group) => directionWords(group.egress, t) },
    { key: 'pool', header: msg('Pool'), sort: 'pool', width: 8, wide: true, cell: (group) => names.pool(group.pool), text: (group) => names.pool(group.pool) },
    { key: 'description', header: msg('Description'), optional: true, cell: (group) => group.description || '—', text: (group) => group.description ?? '' },
    { key: 'id', header: msg('Id'), optional: true, cell: (group) => <code>{group.id}</code>, text: (group) => group.id },
  ], [names, t]);
  const create = <CreateButton label={t('Create a security group')} why={mayNot(user, 'security_group.create')} go={() => setMaking(true)} />;
  const verbs = (group: SecurityGroup): Verb[] => {
    const why = mayNot(user, 'security_group.delete', { pool: group.pool });
    return [
      { label: t('Change its rules'), why, go: () => setChanging(group) },
      {
        label: t('Delete'),
        danger: true,
        why,
        act: { method: 'security_group.delete', params: { group: group.id }, title: t('Delete the security group {{name}}', { name: group.name }) },
        question: { text: t('Its rules no longer hold, at once. A direction that no other group of a VM speaks of is open then.'), button: t('Delete'), typeName: group.name },
      },
    ];
  };
  const bulk = useBulk({ rows: pages.rows, id: (group) => group.id, name: (group) => group.name, verbs });
  return (
    <>
      <ListView
        title={t('Security groups')}
        about={t('Who may talk with the VMs that have a tag. A direction that no group of a VM speaks of is open.')}
        noun="security-groups"
        columns={columns}
        pages={pages}
        id={(group) => group.id}
        name={(group) => group.name}
        {...list}
        {...bulk.list}
        query={<QueryBar {...bar} noun="security_group" label={t('Filter security groups')} placeholder={t('Filter: tag:web pool:lab, or words')} />}
        create={create}
        actions={(group) => <VerbMenu name={group.name} verbs={verbs(group)} />}
        menu
        empty={
          <Nothing icon={ShieldIcon} title={t('No security groups yet')}>
            {t('Without one, everything may pass every NIC that is not locked.')}
          </Nothing>
        }
      />
      {bulk.dialog}
      {making && <CreateGroup close={() => setMaking(false)} />}
      {changing && <SetRules group={changing} close={() => setChanging(undefined)} />}
    </>
  );
}
