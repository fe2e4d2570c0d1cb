// The places of the UI: address, name, group, and the key behind `g`.

import { msg } from '../i18n/msg';

export interface Place {
  path: string;
  label: string;
  key: string;
  group: string;
  /** Only for an admin of everything. */
  secure?: boolean;
}

export const GROUPS = [msg('Overview'), msg('Inventory'), msg('Protection'), msg('Activity'), msg('Access'), msg('Settings'), msg('System')];

export const PLACES: Place[] = [
  { path: '/', label: msg('Home'), key: 'd', group: 'Overview' },
  { path: '/fleet', label: msg('Fleet'), key: 'f', group: 'Overview' },
  { path: '/topology', label: msg('Topology'), key: 'y', group: 'Overview' },
  { path: '/metrics', label: msg('Metrics'), key: 'g', group: 'Overview' },
  { path: '/vms', label: msg('Virtual machines'), key: 'v', group: 'Inventory' },
  { path: '/hosts', label: msg('Hosts'), key: 'h', group: 'Inventory' },
  { path: '/pools', label: msg('Pools'), key: 'p', group: 'Inventory' },
  { path: '/networks', label: msg('Networks'), key: 'n', group: 'Inventory' },
  // Every letter is taken.
  { path: '/security-groups', label: msg('Security groups'), key: '1', group: 'Inventory' },
  { path: '/disks', label: msg('Disks'), key: 's', group: 'Inventory' },
  { path: '/storage', label: msg('Storage'), key: 'r', group: 'Inventory' },
  { path: '/templates', label: msg('Templates'), key: 'l', group: 'Inventory' },
  { path: '/fragments', label: msg('Fragments'), key: '3', group: 'Inventory' },
  { path: '/backups', label: msg('Backups'), key: 'b', group: 'Protection' },
  { path: '/jobs', label: msg('Backup jobs'), key: 'j', group: 'Protection' },
  { path: '/runs', label: msg('Backup runs'), key: 'w', group: 'Protection' },
  { path: '/repositories', label: msg('Repositories'), key: 'x', group: 'Protection' },
  { path: '/standbys', label: msg('Standbys'), key: 'z', group: 'Protection' },
  { path: '/imports', label: msg('Imports'), key: 'o', group: 'Activity' },
  { path: '/alarms', label: msg('Alarms'), key: 'q', group: 'Activity' },
  { path: '/tasks', label: msg('Tasks'), key: 't', group: 'Activity' },
  { path: '/events', label: msg('Events'), key: 'e', group: 'Activity' },
  { path: '/orphans', label: msg('Orphans'), key: '0', group: 'Activity' },
  { path: '/users', label: msg('Users'), key: 'u', group: 'Access', secure: true },
  { path: '/tokens', label: msg('API tokens'), key: 'k', group: 'Access' },
  { path: '/audit', label: msg('Audit log'), key: 'a', group: 'Access', secure: true },
  { path: '/mail', label: msg('Mail server'), key: 'c', group: 'Settings', secure: true },
  { path: '/certificates', label: msg('Certificates'), key: '2', group: 'Settings' },
  { path: '/account', label: msg('My account'), key: 'm', group: 'System' },
  { path: '/about', label: msg('About'), key: 'i', group: 'System' },
];
