// A task in parts: how far, which step, what can be done about it.

import { Progress, ProgressStep, ProgressStepper } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';
import type { Task, TaskStep } from '../../api/generated';
import { useActs } from '../../parts/acts';
import { CopyButton } from '../../parts/CopyButton';
import type { Verb } from '../../parts/VerbMenu';
import { WhyButton } from '../../parts/WhyButton';
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
export function useTaskVerbs() {
  const { t } = useTranslation();
  const user = useUser();
  return (task: Task): Verb[] => {
    const params = { task: task.id };
    const why = mayNot(user, 'task.cancel');
    if (task.status === 'running') return [{ label: t('Cancel'), why, act: { method: 'task.cancel', params, title: t('Cancel: {{title}}', { title: task.title }) } }];
    if (task.status !== 'parked') return [];
    return [
      { label: t('Retry'), why, act: { method: 'task.retry', params, title: t('Retry: {{title}}', { title: task.title }) } },
      {
        label: t('Abandon'),
        danger: true,
        why: mayNot(user, 'task.abandon'),
        act: { method: 'task.abandon', params, title: t('Abandon: {{title}}', { title: task.title }) },
        question: { text: t('What the task did so far stays as it is, and what it held is free again. Look at the hosts concerned first.'), button: t('Abandon') },
      },
    ];
  };
}

export function TaskVerbs({ task, large }: { task: Task; large?: boolean }) {
  const { run, ask } = useActs();
  const verbs = useTaskVerbs();
  const look = large ? ({ variant: 'secondary' } as const) : ({ variant: 'link', isInline: true } as const);
  return verbs(task).map(({ label, why, act, question }) => {
    const go = () => {
      if (act && question) ask({ ...act, ...question });
      else if (act) void run(act);
    };
    return (
      <span key={label} className="x-verb">
        <WhyButton {...look} why={why} go={go}>
          {label}
        </WhyButton>
        {large && act && <CopyButton act={act} label={label} />}
      </span>
    );
  });
}

export const stuck = (task: Task): boolean => over(task.status) && task.status !== 'done';
