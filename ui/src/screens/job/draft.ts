// What the form of a job gathers, and the call that it becomes.

import type { BackupJob, CreateBackupJob, KeepPolicy, MailOn, Quiesce, UpdateBackupJob } from '../../api/generated';
import { words } from '../../parts/fields';

export type Every = 'day' | 'week' | 'hours' | 'own' | 'never';

export interface JobDraft {
  name: string;
  vms: string[];
  filter: string;
  repositories: string[];
  /** Disks as they are typed, `device` or `VM:device`: only these (none stands for all), and those left out. */
  include: string;
  exclude: string;
  every: Every;
  /** `HH:MM` */
  at: string;
  /** 0 is Sunday. */
  weekday: number;
  hours: number;
  cron: string;
  timezone: string;
  keep: Required<KeepPolicy>;
  concurrency: number;
  retries: number;
  /** MiB per second and VM; 0 for no limit. */
  bandwidth: number;
  /** Hours; 0 for no limit. */
  window: number;
  /** Hours; 0 for never. */
  rpo: number;
  webhook: string;
  /** Addresses as they are typed. */
  mail: string;
  mailOn: MailOn;
  /** VMs proved after each run. */
  prove: number;
  /** TCP ports that have to answer then, as they are typed. */
  ports: string;
  quiesce: Quiesce;
}

const MIB = 1024 ** 2;

export const EMPTY_JOB: JobDraft = {
  name: '',
  vms: [],
  filter: '',
  repositories: [],
  include: '',
  exclude: '',
  every: 'day',
  at: '02:30',
  weekday: 0,
  hours: 4,
  cron: '',
  timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
  keep: { last: 0, hourly: 0, daily: 14, weekly: 8, monthly: 12, yearly: 0 },
  concurrency: 2,
  retries: 1,
  bandwidth: 0,
  window: 0,
  rpo: 26,
  webhook: '',
  mail: '',
  mailOn: 'always',
  prove: 0,
  ports: '',
  quiesce: 'try',
};

/** Ports as they are typed; nothing where one is none. */
export function parsePorts(text: string): number[] | undefined {
  const ports = words(text).map((word) => (/^\d{1,5}$/.test(word) ? Number(word) : 0));
  return ports.every((port) => port >= 1 && port <= 65_535) && ports.length <= 16 ? ports.sort((a, b) => a - b) : undefined;
}

/** Cron with five fields. */
export function schedule({ every, at, weekday, hours, cron }: JobDraft): string {
  const [hour = 0, minute = 0] = at.split(':').map(Number);
  switch (every) {
    case 'day':
      return `${minute} ${hour} * * *`;
    case 'week':
      return `${minute} ${hour} * * ${weekday}`;
    case 'hours':
      return `${minute} */${hours} * * *`;
    case 'own':
      return cron;
    case 'never':
      return '';
  }
}

/** The other way round, for what the form can say; everything else is written as it is. */
export function fromSchedule(text: string): Pick<JobDraft, 'every' | 'at' | 'weekday' | 'hours' | 'cron'> {
  const usual = { at: EMPTY_JOB.at, weekday: 0, hours: 4, cron: text };
  if (text === '') return { ...usual, every: 'never' };
  const clock = (hour: string, minute: string) => `${hour.padStart(2, '0')}:${minute.padStart(2, '0')}`;
  const fixed = /^(\d{1,2}) (\d{1,2}) \* \* (\*|[0-6])$/.exec(text);
  if (fixed) {
    const [, minute = '', hour = '', day = ''] = fixed;
    return day === '*' ? { ...usual, every: 'day', at: clock(hour, minute) } : { ...usual, every: 'week', at: clock(hour, minute), weekday: Number(day) };
  }
  const often = /^(\d{1,2}) \*\/(\d{1,2}) \* \* \*$/.exec(text);
  if (often) return { ...usual, every: 'hours', at: clock('0', often[1] ?? '0'), hours: Number(often[2]) };
  return { ...usual, every: 'own' };
}

/** How many hours lie between two backups, as far as the form knows. */
export function hoursBetween({ every, hours }: JobDraft): number {
  return every === 'hours' ? hours : every === 'week' ? 168 : 24;
}

export function fromJob(job: BackupJob): JobDraft {
  return {
    name: job.name,
    vms: job.vms ?? [],
    filter: job.filter ?? '',
    repositories: job.repositories,
    include: (job.include_disks ?? []).join(' '),
    exclude: (job.exclude_disks ?? []).join(' '),
    ...fromSchedule(job.schedule ?? ''),
    timezone: job.timezone || EMPTY_JOB.timezone,
    keep: { last: 0, hourly: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0, ...job.keep },
    concurrency: job.concurrency,
    retries: job.retries ?? 0,
    bandwidth: Math.round((job.bandwidth ?? 0) / MIB),
    window: (job.window_minutes ?? 0) / 60,
    rpo: (job.rpo_minutes ?? 0) / 60,
    webhook: job.webhook ?? '',
    mail: (job.mail_to ?? []).join(', '),
    mailOn: job.mail_on ?? 'always',
    prove: job.prove ?? 0,
    ports: (job.prove_ports ?? []).join(' '),
    quiesce: job.quiesce ?? 'try',
  };
}

function settings(draft: JobDraft) {
  return {
    vms: draft.vms,
    filter: draft.filter,
    repositories: draft.repositories,
    include_disks: words(draft.include),
    exclude_disks: words(draft.exclude),
    schedule: schedule(draft),
    timezone: schedule(draft) ? draft.timezone : '',
    keep: draft.keep,
    concurrency: draft.concurrency,
    retries: draft.retries,
    bandwidth: draft.bandwidth * MIB,
    window_minutes: Math.round(draft.window * 60),
    rpo_minutes: Math.round(draft.rpo * 60),
    webhook: draft.webhook,
    mail_to: words(draft.mail),
    mail_on: draft.mailOn,
    prove: draft.prove,
    prove_ports: parsePorts(draft.ports) ?? [],
    quiesce: draft.quiesce,
  };
}

export function createJob(draft: JobDraft): CreateBackupJob {
  return { name: draft.name, ...settings(draft) };
}

/** Only what differs. */
export function updateJob(job: BackupJob, draft: JobDraft): UpdateBackupJob {
  const before = settings(fromJob(job)) as Record<string, unknown>;
  const changed = Object.entries(settings(draft)).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(before[name]));
  return { job: job.id, ...Object.fromEntries(changed) };
}

export const jobReady = (draft: JobDraft): boolean =>
  draft.name !== '' && parsePorts(draft.ports) !== undefined && draft.repositories.length > 0 && (draft.vms.length > 0 || draft.filter !== '') && (draft.every !== 'own' || draft.cron.trim().split(/\s+/).length === 5);
