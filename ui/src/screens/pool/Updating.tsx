// The update of a pool's hosts that goes on now: how far it is, and that no further host is begun.

import { Card, CardBody, CardHeader, CardTitle, Label } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import { useRead } from '../../api/client';
import type { Pool } from '../../api/generated';
import { useTasks } from '../../live/tasks';
import { useActs, type Act } from '../../parts/acts';
import { CopyButton } from '../../parts/CopyButton';
import { over } from '../../parts/words';
import { WhyButton } from '../../parts/WhyButton';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { TaskProgress } from '../task/parts';

/** Nothing where nothing is updated. */
export function Updating({ pool }: { pool: Pool }) {
  const { t } = useTranslation();
  const user = useUser();
  const { run } = useActs();
  const status = useRead('pool.update_status', { pool: pool.id });
  const id = status.data?.task ?? '';
  const live = useTasks().find((task) => task.id === id);
  const read = useRead('task.get', { task: id }, { enabled: id !== '' && !live });
  const task = live ?? read.data;
  if (!status.data?.task || !task || (over(task.status) && task.status !== 'parked')) return null;
  const { paused } = status.data;
  const why = mayNot(user, 'pool.pause_update', { pool: pool.id });
  const act: Act = paused
    ? { method: 'pool.resume_update', params: { pool: pool.id }, title: t('Go on with the update') }
    : { method: 'pool.pause_update', params: { pool: pool.id }, title: t('Pause the update') };
  return (
    <Card isCompact className="x-gap">
      <CardHeader
        actions={{
          hasNoOffset: true,
          actions: (
            <span className="x-verb">
              <WhyButton variant="link" isInline why={why} go={() => void run(act)}>
                {act.title}
              </WhyButton>
              <CopyButton act={act} label={act.title} />
            </span>
          ),
        }}
      >
        <CardTitle component="h2">{t('Its hosts are being updated')}</CardTitle>
      </CardHeader>
      <CardBody>
        <TaskProgress task={task} />
        <p className="x-labels x-above">
          {paused && (
            <Label isCompact color="orange">
              {t('Paused: no further host is begun')}
            </Label>
          )}
          {task.message && <span className="x-wrap">{task.message}</span>}
          <Link to={`/tasks/${task.id}`}>{t('Show the task')}</Link>
        </p>
      </CardBody>
    </Card>
  );
}
