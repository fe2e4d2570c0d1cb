// The tasks that the caller may see: those that run or are parked, and the newest that are over. Fed by one subscription.

import { useEffect, useMemo, useSyncExternalStore } from 'react';
import { useSocket } from '../api/client';
import type { Task } from '../api/generated';
import { over } from '../parts/words';
import { Again } from './again';
import { concerned } from './changes';

const KEPT = 100;

/**
 * What a task that goes on has changed of what has no subscription of its own: a run of a backup job, an import, what
 * its subjects and its method name. They are read again with it, not by the clock.
 */
export function touched(before: Task | undefined, task: Task): string[] {
  const same = before && before.status === task.status && before.percent === task.percent && before.message === task.message && JSON.stringify(before.steps) === JSON.stringify(task.steps);
  if (same) return [];
  const nouns = [...task.subjects.map((subject) => subject.split('/')[0] ?? ''), task.method.split('.')[0] ?? ''];
  return [...new Set(nouns)].filter((noun) => noun && noun !== 'system').flatMap(concerned);
}

type Ended = (task: Task) => void;

class Tasks {
  private tasks = new Map<string, Task>();
  private sorted: Task[] = [];
  private readonly listeners = new Set<() => void>();
  private readonly mine = new Map<string, Ended>();
  private readonly again = new Again();

  watch = (listener: () => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  list = (): Task[] => this.sorted;

  /** Calls `ended` when this task is over. */
  expect(id: string, ended: Ended) {
    const known = this.tasks.get(id);
    if (known && over(known.status)) ended(known);
    else this.mine.set(id, ended);
  }

  put(...tasks: Task[]) {
    for (const task of tasks) {
      const before = this.tasks.get(task.id);
      if (before && over(before.status) && !over(task.status) && before.status !== 'parked') continue;
      this.tasks.set(task.id, task);
      const nouns = touched(before, task);
      if (nouns.length) this.again.ask(...nouns);
      if (!over(task.status)) continue;
      if (!before || !over(before.status)) this.changed(task);
      this.mine.get(task.id)?.(task);
      this.mine.delete(task.id);
    }
    this.sorted = [...this.tasks.values()].sort((a, b) => b.created.localeCompare(a.created));
    // One that is parked waits for somebody, however old it is.
    const surplus = this.sorted.filter((task) => over(task.status) && task.status !== 'parked').slice(KEPT);
    surplus.forEach((task) => this.tasks.delete(task.id));
    this.sorted = this.sorted.filter((task) => this.tasks.has(task.id));
    this.listeners.forEach((listener) => listener());
  }

  /** Something was done: what shows it is read again, once for many. */
  private changed(_task: Task) {
    this.again.ask('vm', 'vdi', 'host', 'task', 'system', 'sr', 'snapshot', 'template', 'backup', 'backup_job', 'backup_run', 'repository', 'import', 'standby');
  }

  clear() {
    this.tasks.clear();
    this.mine.clear();
    this.sorted = [];
  }
}

export const tasks = new Tasks();

export function useTasks(): Task[] {
  return useSyncExternalStore(tasks.watch, tasks.list);
}

export function useRunning(): Task[] {
  const all = useTasks();
  return useMemo(() => all.filter((task) => !over(task.status)), [all]);
}

/** Keeps the store fed; used once, by the shell. */
export function useTaskFeed() {
  const socket = useSocket();
  useEffect(() => {
    const recent = () =>
      Promise.all([socket.call('task.list', { limit: 50 }), socket.call('task.list', { filter: 'status:parked', limit: 50 })]).then(
        ([newest, parked]) => tasks.put(...parked.items.reverse(), ...newest.items.reverse()),
        () => undefined,
      );
    const stop = socket.subscribe('task.subscribe', {}, (task) => tasks.put(task), { started: () => void recent() });
    return () => {
      stop();
      tasks.clear();
    };
  }, [socket]);
}
