// Tasks, all or of one VM: pages from the orchestrator, brought up to date by the feed.

import { ToggleGroup, ToggleGroupItem, ToolbarItem } from '@patternfly/react-core';
import TasksIcon from '@patternfly/react-icons/dist/esm/icons/tasks-icon';
import { useMemo } from 'react';
import { useTranslation } from 'react-i18next';
import { ListView } from '../../list/ListView';
import { useBulk } from '../../list/useBulk';
import { usePages } from '../../list/pages';
import { QueryBar } from '../../list/QueryBar';
import { useTasks } from '../../live/tasks';
import { Nothing } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { useUrlClear, useUrlState } from '../../parts/url';
import { taskColumns } from './columns';
import { TaskVerbs, useTaskVerbs } from './parts';

export function TaskList({ vm }: { vm?: string }) {
  const { t } = useTranslation();
  const format = useFormat();
  const columns = useMemo(() => taskColumns(format), [format]);
  const clear = useUrlClear('active', 'q');
  const [active, setActive] = useUrlState('active');
  const [query, setQuery] = useUrlState('q');
  const pages = usePages('task.list', { vm: vm ?? null, active: active === 'yes', filter: query ?? '' });
  const live = useTasks();
  const rows = useMemo(() => {
    const newer = new Map(live.map((task) => [task.id, task]));
    const known = new Set(pages.rows.map((task) => task.id));
    const added = live.filter((task) => !known.has(task.id) && (!vm || task.subjects.includes(`vm/${vm}`)) && !active && !query);
    const newest = pages.offset ? undefined : (pages.rows[0]?.created ?? '');
    // Where the newest were scrolled past, what is newer still is not in sight either.
    return [...added.filter((task) => newest !== undefined && task.created > newest), ...pages.rows.map((task) => newer.get(task.id) ?? task)];
  }, [live, pages.rows, pages.offset, vm, active, query]);
  const bulk = useBulk({ rows, id: (task) => task.id, name: (task) => task.title, verbs: useTaskVerbs() });
  return (
    <>
      <ListView
        title={t('Tasks')}
        about={vm ? undefined : t('Everything that takes longer than a call: its steps, how far it is, and how it ended.')}
        heading={vm ? 'h2' : 'h1'}
        noun="tasks"
        columns={columns}
        pages={{ ...pages, rows, total: Math.max(pages.total, rows.length) }}
        id={(task) => task.id}
        name={(task) => task.title}
        {...bulk.list}
        filtered={active === 'yes' || !!query}
        clear={clear}
        query={<QueryBar value={query ?? ''} set={setQuery} noun="task" label={t('Filter tasks')} placeholder={t('Filter: status:parked user:anna age:<1d, or words')} />}
        actions={(task) => <TaskVerbs task={task} />}
        extra={
          <ToolbarItem>
            <ToggleGroup isCompact aria-label={t('Which tasks')}>
              <ToggleGroupItem text={t('All')} buttonId="tasks-all" isSelected={active !== 'yes'} onChange={() => setActive(null)} />
              <ToggleGroupItem text={t('Not over')} buttonId="tasks-active" isSelected={active === 'yes'} onChange={() => setActive('yes')} />
            </ToggleGroup>
          </ToolbarItem>
        }
        empty={
          <Nothing icon={TasksIcon} title={t('No tasks yet')}>
            {t('What you start appears here, with its steps.')}
          </Nothing>
        }
      />
      {bulk.dialog}
    </>
  );
}
