// Schedules, retention, restores and sums of backups.

import { describe, expect, it } from 'vitest';
import type { Backup, BackupJob, BackupRun, KeepPolicy } from '../api/generated';
import { NO_CARD } from '../parts/networks';
import { EMPTY_RESTORE, restoreParams, restoreReady } from './backup/restore';
import { saved, speed, sum } from './backup/words';
import { EMPTY_JOB, fromSchedule, jobReady, parsePorts, schedule, updateJob, fromJob } from './job/draft';
import { month, within } from './job/month';
import { proofSum, proofTone, provedAt } from './job/proofs';
import { decide } from './job/retention';

describe('the schedule of a job', () => {
  it.each([
    ['30 2 * * *', 'day'],
    ['0 23 * * 5', 'week'],
    ['15 */4 * * *', 'hours'],
    ['30 2 * * 1-5', 'own'],
    ['', 'never'],
  ])('%j is read as %s, and written as it was', (text, every) => {
    const read = fromSchedule(text);
    expect(read.every).toBe(every);
    expect(schedule({ ...EMPTY_JOB, ...read })).toBe(text);
  });
});

describe('a change of a job', () => {
  const job = { id: 'j', name: 'nightly', enabled: true, repositories: ['r'], filter: 'tag:prod', schedule: '30 2 * * *', timezone: 'UTC', concurrency: 2 } as BackupJob;
  it('sends what differs and nothing else', () => {
    expect(updateJob(job, fromJob(job))).toEqual({ job: 'j' });
    expect(updateJob(job, { ...fromJob(job), at: '03:00', rpo: 2 })).toEqual({ job: 'j', schedule: '0 3 * * *', rpo_minutes: 120 });
  });
  it('says who gets the report by e-mail, and of which runs', () => {
    const mailed = { ...job, mail_to: ['b@x.org', 'a@x.org'], mail_on: 'problems' as const };
    expect(updateJob(mailed, fromJob(mailed))).toEqual({ job: 'j' });
    expect(updateJob(job, { ...fromJob(job), mail: 'b@x.org, a@x.org', mailOn: 'problems' })).toEqual({ job: 'j', mail_to: ['a@x.org', 'b@x.org'], mail_on: 'problems' });
    expect(updateJob(mailed, { ...fromJob(mailed), mail: '' })).toEqual({ job: 'j', mail_to: [] });
  });
  it('says which disks, as they are typed', () => {
    expect(updateJob(job, { ...fromJob(job), exclude: 'xvdc, db-1:xvdb' })).toEqual({ job: 'j', exclude_disks: ['db-1:xvdb', 'xvdc'] });
    const some = { ...job, include_disks: ['xvdb', 'xvda'], exclude_disks: ['xvdc'] };
    expect(updateJob(some, fromJob(some))).toEqual({ job: 'j' });
    expect(updateJob(some, { ...fromJob(some), include: '' })).toEqual({ job: 'j', include_disks: [] });
  });
  it('says which ports have to answer in a proof', () => {
    expect(updateJob(job, { ...fromJob(job), prove: 2, ports: '443, 22 443' })).toEqual({ job: 'j', prove: 2, prove_ports: [22, 443] });
    expect(updateJob(job, { ...fromJob(job), quiesce: 'demand' })).toEqual({ job: 'j', quiesce: 'demand' });
    expect(updateJob({ ...job, prove_ports: [22, 443] }, fromJob({ ...job, prove_ports: [22, 443] }))).toEqual({ job: 'j' });
  });
  it.each([
    ['', []],
    ['22', [22]],
    ['0', undefined],
    ['70000', undefined],
    ['ssh', undefined],
    [Array.from({ length: 17 }, (_, port) => port + 1).join(' '), undefined],
  ])('reads the ports "%s"', (text, ports) => {
    expect(parsePorts(text)).toEqual(ports);
    expect(jobReady({ ...EMPTY_JOB, name: 'n', repositories: ['r'], filter: 'tag:prod', ports: text })).toBe(ports !== undefined);
  });
});

describe('the proofs after a run', () => {
  const proof = (at: string, answered: boolean) => ({ at, answered, said: '', seconds: 1 });
  const of = (proofs: { proof?: ReturnType<typeof proof>; message?: string }[]) => ({ ended: '2026-02-01T03:00:00Z', proofs: proofs.map((one) => ({ vm: 'v', name: 'mail', ...one })) }) as unknown as BackupRun;
  const [passed, failed, open] = [{ proof: proof('2026-02-02T01:00:00Z', true) }, { proof: proof('2026-02-01T23:00:00Z', false) }, {}];
  it.each([
    ['passed', [passed], { passed: 1, failed: 0, open: 0, all: 1 }, 'done'],
    ['failed', [passed, failed, open], { passed: 1, failed: 1, open: 1, all: 3 }, 'failed'],
    ['not begun', [{ message: 'no host' }], { passed: 0, failed: 1, open: 0, all: 1 }, 'failed'],
    ['under way', [passed, open], { passed: 1, failed: 0, open: 1, all: 2 }, 'open'],
  ])('%s', (_name, proofs, sum, tone) => {
    expect(proofSum(of(proofs))).toEqual(sum);
    expect(proofTone(proofSum(of(proofs)))).toBe(tone);
  });
  it('stand on the day of the last verdict', () => {
    expect(provedAt(of([passed, failed]))).toBe('2026-02-02T01:00:00Z');
    expect(provedAt(of([open]))).toBe('2026-02-01T03:00:00Z');
  });
});

describe('retention', () => {
  const none: KeepPolicy = {};
  const kept = (dates: string[], policy: KeepPolicy) =>
    decide(dates.map((created) => ({ created })), policy).map(({ created, because }) => `${created.slice(0, 16)} ${because.map(({ rule, number }) => `${rule}${number ?? ''}`).join('+')}`.trim());
  const at = (day: number, hour = 0) => new Date(Date.UTC(2026, 0, day, hour)).toISOString();

  // The same as in backup/src/retention.rs: the newest of each period, for as many periods as have one.
  it('keeps the newest of each day', () => {
    expect(kept([at(1), at(2, 1), at(2, 9), at(4)], { daily: 2 })).toEqual(['2026-01-04T00:00 the newest+daily1', '2026-01-02T09:00 daily2', '2026-01-02T01:00', '2026-01-01T00:00']);
  });
  it('counts weeks as ISO does', () => {
    // 29 December 2025 to 4 January 2026 are one week.
    expect(kept([new Date(Date.UTC(2025, 11, 29)).toISOString(), at(4), at(5)], { weekly: 2 })).toEqual(['2026-01-05T00:00 the newest+weekly1', '2026-01-04T00:00 weekly2', '2025-12-29T00:00']);
  });
  it('keeps everything without a rule, and what is held', () => {
    expect(kept([at(1), at(2)], none)).toEqual(['2026-01-02T00:00 the newest+no rule', '2026-01-01T00:00 no rule']);
    const decided = decide([{ created: at(1), held: true }, { created: at(2) }], { last: 1 });
    expect(decided[1]?.because).toEqual([{ rule: 'held' }]);
  });
});

describe('a restore', () => {
  const backup = { id: 'b', repository: 'r', vm: 'v', vm_name: 'mail', disks: [{ name: 'xvda' }, { name: 'xvdb' }] } as unknown as Backup;
  const draft = { ...EMPTY_RESTORE, disks: ['xvda', 'xvdb'] };
  it('says only what differs from everything into a new VM', () => {
    expect(restoreParams(backup, draft)).toEqual({ backup: 'b', repository: 'r', target: { kind: 'new_vm' } });
    expect(restoreParams(backup, { ...draft, as: 'disks', disks: ['xvda'], start: true, instant: true })).toEqual({ backup: 'b', repository: 'r', target: { kind: 'disks' }, disks: ['xvda'] });
  });
  it('names the SR and the networks of another place, where there is something to place', () => {
    const place = { ...draft, host: 'h', sr: 's', networks: { lan: 'dmz', san: NO_CARD, wan: '' } };
    const all = { backup: 'b', repository: 'r' };
    expect(restoreParams(backup, place)).toEqual({ ...all, target: { kind: 'new_vm' }, host: 'h', sr: 's', networks: { lan: 'dmz', san: '' } });
    expect(restoreParams(backup, { ...place, as: 'disks' })).toEqual({ ...all, target: { kind: 'disks' }, host: 'h', sr: 's' });
    expect(restoreParams(backup, { ...place, as: 'in_place' })).toEqual({ ...all, target: { kind: 'in_place' } });
  });
  it.each([
    ['a new VM', draft, true],
    ['over what is there, unasked', { ...draft, as: 'in_place' as const }, false],
    ['over what is there, its name typed', { ...draft, as: 'in_place' as const, typed: 'mail' }, true],
    ['no disks', { ...draft, disks: [] }, false],
  ])('%s', (_name, draft, ready) => expect(restoreReady(backup, draft)).toBe(ready));
});

describe('sums', () => {
  it('say what was saved and how quick it was', () => {
    const all = sum([{ size: 100, stored: 10, read: 50, millis: 500 }, { size: 100, stored: 10 }]);
    expect(saved(all)).toBe(0.9);
    expect(speed(all)).toBe(100);
    expect(speed({ read: 1, millis: 0 })).toBeUndefined();
  });
});

describe('a month', () => {
  it('is whole weeks from Monday on', () => {
    const days = month(2026, 2, new Date(2026, 1, 10));
    expect(days.length).toBe(35);
    expect(days[0]?.date.getDate()).toBe(26);
    expect(days.filter(({ inside }) => inside).length).toBe(28);
    expect(days.find(({ today }) => today)?.date.getDate()).toBe(10);
    expect(within(days)).toBe('started:2026-01-25..2026-03-02');
  });
});
