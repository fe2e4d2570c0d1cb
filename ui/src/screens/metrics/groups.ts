// What stands in one chart: metrics of one unit that are read together.

import type { Measured, Metric } from '../../api/generated';
import { msg } from '../../i18n/msg';

export const METRIC: Record<Metric, string> = {
  cpu: msg('CPU'),
  memory: msg('Memory'),
  load: msg('Load'),
  'dom0.cpu': msg('CPU of dom0'),
  'dom0.memory': msg('Memory of dom0'),
  'disk.read': msg('Read from disks'),
  'disk.write': msg('Written to disks'),
  'disk.read_ops': msg('Read requests'),
  'disk.write_ops': msg('Write requests'),
  'disk.queue_full': msg('Waits for room'),
  'net.received': msg('Received'),
  'net.sent': msg('Sent'),
  'net.received_packets': msg('Packets received'),
  'net.sent_packets': msg('Packets sent'),
  'net.dropped': msg('Packets dropped'),
  power: msg('Power'),
};

/** These never say more. */
export const MOST: Partial<Record<Metric, number>> = { cpu: 100 };

export interface Group {
  key: string;
  /** Marked with `msg`. */
  title: string;
  metrics: Metric[];
  of: Measured[];
  /** Said under it, marked with `msg`. */
  note?: string;
}

const BOTH: Measured[] = ['vm', 'host'];

export const GROUPS: Group[] = [
  { key: 'cpu', title: msg('CPU'), metrics: ['cpu'], of: BOTH },
  { key: 'memory', title: msg('Memory'), metrics: ['memory', 'dom0.memory'], of: BOTH },
  { key: 'disk', title: msg('Disk throughput'), metrics: ['disk.read', 'disk.write'], of: BOTH },
  { key: 'requests', title: msg('Disk requests'), metrics: ['disk.read_ops', 'disk.write_ops', 'disk.queue_full'], of: BOTH },
  { key: 'network', title: msg('Network throughput'), metrics: ['net.received', 'net.sent'], of: BOTH },
  { key: 'packets', title: msg('Packets'), metrics: ['net.received_packets', 'net.sent_packets', 'net.dropped'], of: BOTH },
  { key: 'dom0', title: msg('CPU of dom0'), metrics: ['dom0.cpu'], of: ['host'], note: msg('100 % is one processor.') },
  { key: 'load', title: msg('Load'), metrics: ['load'], of: ['host'], note: msg('Of dom0, over a minute.') },
  { key: 'power', title: msg('Power'), metrics: ['power'], of: BOTH },
];
