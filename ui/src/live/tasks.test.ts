// What is read again when a task goes on: what it is about and nothing else tells of.

import { describe, expect, it } from 'vitest';
import type { Task } from '../api/generated';
import { tasks, touched } from './tasks';

const task = (more: Partial<Task>): Task => ({ id: 't', method: 'vm.start', title: '', subjects: ['vm/v', 'host/h'], user_name: '', status: 'running', percent: 10, message: null, steps: [], created: '', ...more }) as Task;

describe('the tasks that are kept', () => {
  it('are those that wait for somebody, however many are newer', () => {
    const made = (id: string, status: Task['status'], day: number) => task({ id, status, created: new Date(day * 86_400_000).toISOString() });
    tasks.put(made('stuck', 'parked', 1), made('old', 'done', 2), ...Array.from({ length: 150 }, (_, at) => made(`new-${at}`, 'done', 3 + at)));
    const ids = tasks.list().map(({ id }) => id);
    expect(ids).toContain('stuck');
    expect(ids).not.toContain('old');
    expect(ids).toHaveLength(101);
    tasks.clear();
  });
});

describe('a task that goes on', () => {
  it.each<[string, Partial<Task>, string[]]>([
    ['of a VM changes nothing that VMs do not tell themselves', {}, []],
    ['of a backup run changes the run', { method: 'backup_job.run', subjects: ['vm/v', 'host/h', 'backup_run/r'] }, ['backup_run', 'backup_job']],
    ['of an import changes it, and its wave', { method: 'import.start', subjects: ['import/i'] }, ['import', 'wave']],
    ['of the system changes no list', { subjects: ['system'] }, []],
  ])('%s', (_name, more, nouns) => {
    expect(new Set(touched(undefined, task(more)))).toEqual(new Set(nouns));
  });

  it('is told again without news', () => {
    const run = task({ subjects: ['backup_run/r'] });
    expect(touched(run, { ...run })).toEqual([]);
    expect(touched(run, { ...run, percent: 11 })).toContain('backup_run');
  });
});
