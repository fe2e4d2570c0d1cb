// Tasks as they go: title, step, progress; cancel and retry at hand. The keys go into it when it opens, and back to its button
// when it is closed: it stands behind everything else in the page.

import { Content, NotificationDrawer, NotificationDrawerBody, NotificationDrawerHeader, NotificationDrawerList, NotificationDrawerListItem, NotificationDrawerListItemBody, NotificationDrawerListItemHeader } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import type { Task } from '../api/generated';
import { useTasks } from '../live/tasks';
import { useFormat } from '../parts/format';
import { TaskProgress, TaskVerbs } from '../screens/task/parts';
import { over, TASK_STATUS } from '../parts/words';

const VARIANT = { done: 'success', 'rolled-back': 'danger', parked: 'warning', abandoned: 'custom', running: 'info', 'rolling-back': 'warning' } as const;
const MOST = 30;

/** The button that opens it. */
export const TASKS_BUTTON = 'tasks-button';
const DRAWER = 'tasks-drawer';

/** Once it has come into sight. */
export const enterTasks = () => document.getElementById(DRAWER)?.querySelector('button')?.focus();

export function TasksDrawer({ close }: { close: () => void }) {
  const { t } = useTranslation();
  const leave = () => {
    close();
    document.getElementById(TASKS_BUTTON)?.focus();
  };
  const tasks = useTasks();
  const running = tasks.filter((task) => !over(task.status) || task.status === 'parked');
  const rest = tasks.filter((task) => !running.includes(task));
  return (
    <NotificationDrawer id={DRAWER} onKeyDown={(event) => event.key === 'Escape' && leave()}>
      <NotificationDrawerHeader
        title={t('Tasks')}
        customText={running.length > 0 ? t('{{count}} tasks running', { count: running.length }) : t('Nothing runs')}
        onClose={leave}
        closeButtonAriaLabel={t('Close')}
      />
      <NotificationDrawerBody>
        <NotificationDrawerList aria-label={t('Tasks')}>
          {[...running, ...rest].slice(0, MOST).map((task) => (
            <Item key={task.id} task={task} />
          ))}
        </NotificationDrawerList>
        <Content component="p" className="x-pad">
          <Link to="/tasks" onClick={close}>
            {t('Show all tasks')}
          </Link>
        </Content>
      </NotificationDrawerBody>
    </NotificationDrawer>
  );
}

function Item({ task }: { task: Task }) {
  const { t } = useTranslation();
  const format = useFormat();
  const busy = !over(task.status);
  return (
    <NotificationDrawerListItem variant={VARIANT[task.status]} isRead={!busy && task.status !== 'parked'} isHoverable={false}>
      <NotificationDrawerListItemHeader variant={VARIANT[task.status]} title={task.title} srTitle={t(TASK_STATUS[task.status].label)} headingLevel="h3" />
      <NotificationDrawerListItemBody timestamp={format.ago(task.created)}>
        {busy && <TaskProgress task={task} />}
        {task.message && <p className="x-wrap">{task.message}</p>}
        <div className="x-labels">
          <Link to={`/tasks/${task.id}`}>{t('Details')}</Link>
          <TaskVerbs task={task} />
        </div>
      </NotificationDrawerListItemBody>
    </NotificationDrawerListItem>
  );
}
