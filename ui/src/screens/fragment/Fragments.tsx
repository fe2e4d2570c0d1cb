// Parts of cloud-init's user data that are kept under a name, for templates and deployments.

import { Label } from '@patternfly/react-core';
import FragmentIcon from '@patternfly/react-icons/dist/esm/icons/file-code-icon';
import { useMemo } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useNavigate } from 'react-router';
import type { Fragment, Template } from '../../api/generated';
import { msg } from '../../i18n/msg';
import { useAll } from '../../list/all';
import type { Column } from '../../list/columns';
import { ListView } from '../../list/ListView';
import { usePages } from '../../list/pages';
import { QueryBar } from '../../list/QueryBar';
import { useListState } from '../../list/state';
import { useBulk } from '../../list/useBulk';
import { Ago } from '../../parts/Ago';
import { CreateButton } from '../../parts/CreateButton';
import { Nothing } from '../../parts/feedback';
import { useNames } from '../../parts/names';
import { VerbMenu } from '../../parts/VerbMenu';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { KIND } from './kind';
import { useFragmentVerbs } from './verbs';

const nameOf = (fragment: Fragment) => fragment.name;

/** Templates by the fragments that they name. */
export function byFragment(templates: Template[]): Map<string, Template[]> {
  const found = new Map<string, Template[]>();
  for (const template of templates) {
    for (const id of template.fragments ?? []) found.set(id, [...(found.get(id) ?? []), template]);
  }
  return found;
}

function Naming({ templates }: { templates: Template[] }) {
  if (templates.length === 0) return <>—</>;
  return (
    <span className="x-labels">
      {templates.map(({ id, name }) => (
        <Link key={id} to={`/templates/${id}`}>
          {name}
        </Link>
      ))}
    </span>
  );
}

export default function Fragments() {
  const { t } = useTranslation();
  const user = useUser();
  const names = useNames();
  const navigate = useNavigate();
  const verbsOf = useFragmentVerbs();
  const { wanted, bar, list } = useListState();
  const pages = usePages('fragment.list', wanted);
  const templates = useAll('template.list', {});
  const naming = useMemo(() => byFragment(templates.data ?? []), [templates.data]);
  const columns = useMemo((): Column<Fragment>[] => {
    const by = (fragment: Fragment) => naming.get(fragment.id) ?? [];
    return [
      { key: 'name', header: msg('Name'), sort: 'name', cell: (fragment) => <Link to={`/fragments/${fragment.id}`}>{fragment.name}</Link>, text: nameOf },
      { key: 'kind', header: msg('Kind'), sort: 'kind', width: 9, cell: (fragment) => <Label isCompact variant="outline">{t(KIND[fragment.kind].label)}</Label>, text: (fragment) => fragment.kind },
      { key: 'templates', header: msg('Templates that name it'), cell: (fragment) => <Naming templates={by(fragment)} />, text: (fragment) => by(fragment).map(({ name }) => name).join(' ') },
      { key: 'pool', header: msg('Pool'), sort: 'pool', width: 8, wide: true, cell: (fragment) => names.pool(fragment.pool), text: (fragment) => names.pool(fragment.pool) },
      { key: 'changed', header: msg('Changed'), sort: 'changed', width: 9, wide: true, cell: (fragment) => <Ago at={fragment.changed} />, text: (fragment) => fragment.changed },
      { key: 'description', header: msg('Description'), wide: true, cell: (fragment) => fragment.description || '—', text: (fragment) => fragment.description },
      { key: 'id', header: msg('Id'), optional: true, cell: (fragment) => <code>{fragment.id}</code>, text: (fragment) => fragment.id },
    ];
  }, [naming, names, t]);
  const verbs = (fragment: Fragment) => verbsOf(fragment, naming.get(fragment.id) ?? []);
  const bulk = useBulk({ rows: pages.rows, id: (fragment) => fragment.id, name: nameOf, verbs });
  const create = <CreateButton label={t('Create a fragment')} why={mayNot(user, 'fragment.create')} go={() => void navigate('/fragments/new')} />;
  return (
    <>
      <ListView
        title={t('Fragments')}
        about={t('What cloud-init is told alike in many VMs: packages, users, scripts. Templates and deployments name them.')}
        noun="fragments"
        columns={columns}
        pages={pages}
        id={(fragment) => fragment.id}
        name={nameOf}
        {...list}
        {...bulk.list}
        query={<QueryBar {...bar} noun="fragment" label={t('Filter fragments')} placeholder={t('Filter: kind:script age:<7d, or words')} />}
        create={create}
        actions={(fragment) => <VerbMenu name={fragment.name} verbs={verbs(fragment)} />}
        menu
        empty={
          <Nothing icon={FragmentIcon} title={t('No fragments yet')}>
            {t('Keep a #cloud-config or a script once, then let templates name it: each VM that is made from them gets it.')}
          </Nothing>
        }
      />
      {bulk.dialog}
    </>
  );
}
