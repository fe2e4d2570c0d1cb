// The API's words as people read them.

import { msg } from '../i18n/msg';
import type { HostStatus, Power, Severity, StepStatus, TaskStatus } from '../api/generated';

type Color = 'green' | 'blue' | 'grey' | 'red' | 'orange' | 'teal';

export const POWER: Record<Power, { label: string; color: Color }> = {
  running: { label: msg('Running'), color: 'green' },
  paused: { label: msg('Paused'), color: 'orange' },
  stopped: { label: msg('Stopped'), color: 'grey' },
  suspended: { label: msg('Suspended'), color: 'grey' },
  crashed: { label: msg('Crashed'), color: 'red' },
  starting: { label: msg('Starting'), color: 'blue' },
  stopping: { label: msg('Stopping'), color: 'blue' },
  suspending: { label: msg('Suspending'), color: 'blue' },
  resuming: { label: msg('Resuming'), color: 'blue' },
  unknown: { label: msg('Unknown'), color: 'red' },
};

export const HOST_STATUS: Record<HostStatus, { label: string; color: Color }> = {
  connected: { label: msg('Connected'), color: 'green' },
  unknown: { label: msg('Not heard'), color: 'red' },
  enrolling: { label: msg('Joining'), color: 'blue' },
};

export const TASK_STATUS: Record<TaskStatus, { label: string; color: Color }> = {
  running: { label: msg('Running'), color: 'blue' },
  'rolling-back': { label: msg('Rolling back'), color: 'orange' },
  done: { label: msg('Done'), color: 'green' },
  'rolled-back': { label: msg('Rolled back'), color: 'red' },
  parked: { label: msg('Parked'), color: 'orange' },
  abandoned: { label: msg('Abandoned'), color: 'grey' },
};

export const STEP_STATUS: Record<StepStatus, string> = {
  waiting: msg('Waiting'),
  running: msg('Running'),
  done: msg('Done'),
  undone: msg('Undone'),
};

export const SEVERITY: Record<Severity, { label: string; color: Color }> = {
  info: { label: msg('Information'), color: 'blue' },
  warning: { label: msg('Warning'), color: 'orange' },
  error: { label: msg('Error'), color: 'red' },
};

/** `ensure_running` and `ensure running` as a person writes it. */
export function stepName(name: string): string {
  const words = name.replaceAll('_', ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
}

export const over = (status: TaskStatus): boolean => status !== 'running' && status !== 'rolling-back';
