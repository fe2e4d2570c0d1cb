// One task: its steps as they go, what it works on, why it ended as it did.

import { Breadcrumb, BreadcrumbItem, Card, CardBody, CardTitle, PageSection } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';
import { Link, useParams } from 'react-router';
import { useRead } from '../../api/client';
import { useTasks } from '../../live/tasks';
import { Alert } from '../../parts/Alert';
import { Facts } from '../../parts/Facts';
import { Failed, Loading } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { Id } from '../../parts/Id';
import { useNames } from '../../parts/names';
import { TaskLabel } from '../../parts/state';
import { Subject } from '../../parts/Subject';
import { over } from '../../parts/words';
import { PageTitle } from '../../parts/PageTitle';
import { TaskProgress, TaskSteps, TaskVerbs, stuck } from './parts';

export default function TaskPage() {
  const { t } = useTranslation();
  const format = useFormat();
  const names = useNames();
  const { task: id = '' } = useParams();
  const read = useRead('task.get', { task: id });
  const live = useTasks().find((task) => task.id === id);
  const task = live ?? read.data;
  const vmId = task?.subjects.find((subject) => subject.startsWith('vm/'))?.slice(3);
  const vm = useRead('vm.get', { vm: vmId ?? '' }, { enabled: !!vmId });
  if (!task && read.isPending) return <Loading />;
  if (!task) return <Failed error={read.error} up={['/tasks', t('Tasks')]} retry={() => void read.refetch()} />;
  const meaning = {
    'rolled-back': t('It could not be done. What had been done was undone: nothing is left of it.'),
    parked: t('It can neither go on nor be undone without you. Mend the cause, then retry; or abandon it.'),
    abandoned: t('Somebody decided to leave it as it is.'),
    'rolling-back': t('It is being undone.'),
  }[task.status as string];
  const seconds = ((task.ended ? new Date(task.ended) : new Date()).getTime() - new Date(task.created).getTime()) / 1000;
  const about = (subject: string) => {
    const [noun, of] = subject.split('/');
    if (noun === 'vm' && vm.data) return vm.data.name;
    return noun === 'host' && of ? names.host(of) : subject.replace(/^(\w+)\/([0-9a-f]{8}).*/, '$1 $2');
  };
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <Breadcrumb aria-label={t('Where this is')}>
        <BreadcrumbItem render={({ className }) => <Link className={className} to="/tasks">{t('Tasks')}</Link>} />
        <BreadcrumbItem isActive>{task.title}</BreadcrumbItem>
      </Breadcrumb>
      <div className="x-head">
        <div className="x-title">
          <PageTitle>{task.title}</PageTitle>
          <TaskLabel status={task.status} />
        </div>
        <div className="x-head-actions">
          <TaskVerbs task={task} large />
        </div>
      </div>
      {stuck(task) && (
        <Alert isInline variant={task.status === 'parked' ? 'warning' : 'danger'} title={task.message ?? t('No reason is known')}>
          {meaning}
        </Alert>
      )}
      {!over(task.status) && <TaskProgress task={task} />}
      {!over(task.status) && task.message && <p>{task.message}</p>}
      <div className="x-cards">
        <Card isCompact>
          <CardTitle component="h2">{t('Steps')}</CardTitle>
          <CardBody>
            <TaskSteps steps={task.steps} failed={task.status === 'parked'} />
          </CardBody>
        </Card>
        <Card isCompact>
          <CardTitle component="h2">{t('About it')}</CardTitle>
          <CardBody>
            <Facts
              facts={[
                [t('Method'), <code key="m">{task.method}</code>],
                [t('Who'), task.user_name],
                [t('Begun'), format.date(task.created)],
                [t('Ended'), format.date(task.ended)],
                [t('Took'), format.duration(seconds)],
                [
                  t('Works on'),
                  <span key="s" className="x-labels">
                    {task.subjects.map((subject) => (
                      <Subject key={subject} subject={subject}>
                        {about(subject)}
                      </Subject>
                    ))}
                  </span>,
                ],
                [t('Id'), <Id key="i" id={task.id} />],
              ]}
            />
          </CardBody>
        </Card>
      </div>
    </PageSection>
  );
}
