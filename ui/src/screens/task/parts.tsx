// A task in parts: how far, which step, what can be done about it.

import { Button, Progress, ProgressStep, ProgressStepper, Tooltip } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';
import type { Task, TaskStep } from '../../api/generated';
import { useActs } from '../../parts/acts';
import { over, STEP_STATUS, stepName } from '../../parts/words';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';

export function TaskProgress({ task }: { task: Task }) {
  const { t } = useTranslation();
  const now = task.steps.find((step) => step.status === 'running');
  return (
    <Progress
      size="sm"
      measureLocation="outside"
      aria-label={task.title}
      title={now ? stepName(now.name) : undefined}
      value={task.percent}
      variant={task.status === 'rolling-back' ? 'warning' : undefined}
      valueText={t('{{percent}} percent', { percent: task.percent })}
    />
  );
}

const STEP = { waiting: 'pending', running: 'info', done: 'success', undone: 'warning' } as const;

export function TaskSteps({ steps, failed }: { steps: TaskStep[]; failed: boolean }) {
  const { t } = useTranslation();
  const stuck = failed ? steps.findIndex((step) => step.status === 'waiting') : -1;
  return (
    <ProgressStepper isVertical aria-label={t('Steps')}>
      {steps.map((step, index) => (
        <ProgressStep
          key={`${step.name}-${index}`}
          id={`step-${index}`}
          titleId={`step-title-${index}`}
          variant={index === stuck ? 'danger' : STEP[step.status]}
          isCurrent={step.status === 'running'}
          description={t(STEP_STATUS[step.status])}
          aria-label={`${stepName(step.name)}: ${t(STEP_STATUS[step.status])}`}
        >
          {stepName(step.name)}
        </ProgressStep>
      ))}
    </ProgressStepper>
  );
}

/** Cancel, retry, abandon: those that make sense now. */
export function TaskVerbs({ task, large }: { task: Task; large?: boolean }) {
  const { t } = useTranslation();
  const user = useUser();
  const { run, ask } = useActs();
  const params = { task: task.id };
  const look = large ? ({ variant: 'secondary' } as const) : ({ variant: 'link', isInline: true } as const);
  const refused = mayNot(user, 'task.cancel');
  const button = (label: string, onClick: () => void, why?: string) => {
    const made = (
      <Button {...look} isAriaDisabled={!!why} onClick={why ? undefined : onClick}>
        {label}
      </Button>
    );
    return why ? <Tooltip content={t(why)}>{made}</Tooltip> : made;
  };
  if (task.status === 'running') {
    return button(t('Cancel'), () => void run({ method: 'task.cancel', params, title: t('Cancel: {{title}}', { title: task.title }) }), refused);
  }
  if (task.status !== 'parked') return null;
  const abandon = () =>
    ask({
      method: 'task.abandon',
      params,
      title: t('Abandon: {{title}}', { title: task.title }),
      text: t('What the task did so far stays as it is, and what it held is free again. Look at the hosts concerned first.'),
      button: t('Abandon'),
    });
  return (
    <>
      {button(t('Retry'), () => void run({ method: 'task.retry', params, title: t('Retry: {{title}}', { title: task.title }) }), refused)}
      {button(t('Abandon'), abandon, mayNot(user, 'task.abandon'))}
    </>
  );
}

export const stuck = (task: Task): boolean => over(task.status) && task.status !== 'done';
