/** What there is to look at; `nothing` where a screen is seen empty. */
export interface Things {
  vm: string;
  host: string;
  task: string;
  network: string;
  pool: string;
  sr: string;
  template: string;
  fragment: string;
  job: string;
  run: string;
  user: string;
  /** `repository/backup`. */
  backup: string;
}

/** Every screen by name. */
export function screens({ vm, host, task, network, pool, sr, template, fragment, job, run, user, backup }: Things): Record<string, string> {
  return {
    home: '/',
    fleet: '/fleet',
    'fleet-tags': '/fleet?by=tag',
    topology: '/topology',
    'topology-hit': `/topology?fails=${host}&look=table`,
    metrics: '/metrics',
    'metrics-hosts': '/metrics?of=host&metric=memory',
    vms: '/vms',
    'vm-summary': `/vms/${vm}`,
    'vm-metrics': `/vms/${vm}/metrics`,
    'vm-values': `/vms/${vm}/metrics?look=table`,
    'vm-disks': `/vms/${vm}/disks`,
    'vm-snapshots': `/vms/${vm}/snapshots`,
    'vm-backups': `/vms/${vm}/backups`,
    'vm-nics': `/vms/${vm}/nics`,
    'vm-tasks': `/vms/${vm}/tasks`,
    'vm-events': `/vms/${vm}/events`,
    'vm-access': `/vms/${vm}/access`,
    'new-vm': '/vms/new',
    hosts: '/hosts',
    host: `/hosts/${host}`,
    'host-metrics': `/hosts/${host}?tab=metrics`,
    'host-values': `/hosts/${host}?tab=metrics&look=table&range=day`,
    'host-vms': `/hosts/${host}?tab=vms`,
    'host-events': `/hosts/${host}?tab=events`,
    pools: '/pools',
    pool: `/pools/${pool}`,
    networks: '/networks',
    network: `/networks/${network}`,
    'security-groups': '/security-groups',
    storage: '/storage',
    sr: `/storage/${sr}`,
    'sr-disks': `/storage/${sr}?tab=disks`,
    'sr-scan': `/storage/${sr}?tab=scan`,
    templates: '/templates',
    template: `/templates/${template}`,
    deploy: `/templates/${template}/deploy`,
    fragments: '/fragments',
    'new-fragment': '/fragments/new',
    fragment: `/fragments/${fragment}`,
    disks: '/disks',
    backups: '/backups',
    jobs: '/jobs',
    'new-job': '/jobs/new',
    job: `/jobs/${job}`,
    'edit-job': `/jobs/${job}/edit`,
    runs: '/runs',
    run: `/runs/${run}`,
    restore: `/restore/${backup}`,
    'runs-calendar': '/runs?look=calendar',
    repositories: '/repositories',
    standbys: '/standbys',
    'new-standby': `/standbys/new?vm=${vm}`,
    imports: '/imports',
    'new-import': '/imports/new',
    'import-file': '/imports/upload',
    waves: '/waves',
    alarms: '/alarms',
    'alarms-past': '/alarms?tab=past',
    'alarm-rules': '/alarms?tab=rules',
    'alarm-silences': '/alarms?tab=silences',
    'new-alarm-rule': '/alarm-rules/new',
    tasks: '/tasks',
    task: `/tasks/${task}`,
    events: '/events',
    orphans: '/orphans',
    users: '/users',
    user: `/users/${user}`,
    tokens: '/tokens',
    audit: '/audit',
    mail: '/mail',
    certificates: '/certificates',
    account: '/account',
    about: '/about',
    missing: '/no-such-page',
  };
}

/** Those that only look, and so are for a phone, too. */
export const ON_A_PHONE = ['home', 'fleet', 'vms', 'vm-summary', 'vm-metrics', 'vm-snapshots', 'hosts', 'host', 'host-metrics', 'pool', 'storage', 'sr', 'templates', 'alarms', 'tasks', 'task', 'events', 'orphans', 'user', 'account', 'certificates', 'about'];
/** Those that say something of their own when there is nothing yet. */
export const EMPTY = ['home', 'fleet', 'fleet-tags', 'topology', 'vms', 'vm-summary', 'host-vms', 'security-groups', 'storage', 'templates', 'fragments', 'disks', 'standbys', 'imports', 'new-import', 'alarms', 'alarms-past', 'alarm-rules', 'alarm-silences', 'tasks', 'task', 'events', 'orphans'];
