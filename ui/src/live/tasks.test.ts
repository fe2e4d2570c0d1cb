// What is read again when a task goes on: what it is about and nothing else tells of.

import { describe, expect, it } from 'vitest';
import type { Task } from '../api/generated';
import { touched } from './tasks';

const task = (more: Partial<Task>): Task => ({ id: 't', method: 'vm.start', title: '', subjects: ['vm/v', 'host/h'], user_name: '', status: 'running', percent: 10, message: null, steps: [], created: '', ...more }) as Task;

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
