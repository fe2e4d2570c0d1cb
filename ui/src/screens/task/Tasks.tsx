import { TaskList } from './TaskList';

export default function Tasks() {
  return <TaskList />;
}
