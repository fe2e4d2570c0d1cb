import { Link } from 'react-router';
import type { Task } from '../../api/generated';
import { msg } from '../../i18n/msg';
import type { Column } from '../../list/columns';
import type { Format } from '../../parts/format';
import { TaskLabel } from '../../parts/state';
import { over } from '../../parts/words';
import { TaskProgress } from './parts';

const seconds = (task: Task) => ((task.ended ? new Date(task.ended).getTime() : Date.now()) - new Date(task.created).getTime()) / 1000;

export function taskColumns(format: Format): Column<Task>[] {
  return [
    { key: 'title', header: msg('Task'), cell: (task) => <Link to={`/tasks/${task.id}`}>{task.title}</Link>, text: (task) => task.title },
    {
      key: 'status',
      header: msg('State'),
      width: 10,
      cell: (task) => (over(task.status) ? <TaskLabel status={task.status} /> : <TaskProgress task={{ ...task, steps: [] }} />),
      text: (task) => task.status,
    },
    { key: 'message', header: msg('Message'), wide: true, cell: (task) => task.message ?? '—', text: (task) => task.message ?? '' },
    { key: 'user', header: msg('Who'), width: 8, wide: true, cell: (task) => task.user_name || '—', text: (task) => task.user_name ?? '' },
    {
      key: 'created',
      header: msg('Begun'),
      width: 8.5,
      cell: (task) => (
        <time dateTime={task.created} title={format.date(task.created)}>
          {format.ago(task.created)}
        </time>
      ),
      text: (task) => task.created,
    },
    { key: 'took', header: msg('Took'), width: 6.5, wide: true, cell: (task) => format.duration(seconds(task)), text: (task) => seconds(task).toFixed(1) },
    { key: 'method', header: msg('Method'), optional: true, cell: (task) => <code>{task.method}</code>, text: (task) => task.method },
    { key: 'id', header: msg('Id'), optional: true, cell: (task) => <code>{task.id}</code>, text: (task) => task.id },
  ];
}
