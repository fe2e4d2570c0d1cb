/** Every screen by name, once there is something to see. */
export function screens(vm: string, host: string, task: string): Record<string, string> {
  return {
    home: '/',
    topology: '/topology',
    vms: '/vms',
    'vm-summary': `/vms/${vm}`,
    'vm-disks': `/vms/${vm}/disks`,
    'vm-nics': `/vms/${vm}/nics`,
    'vm-tasks': `/vms/${vm}/tasks`,
    'vm-access': `/vms/${vm}/access`,
    'new-vm': '/vms/new',
    hosts: '/hosts',
    host: `/hosts/${host}`,
    'host-vms': `/hosts/${host}?tab=vms`,
    pools: '/pools',
    networks: '/networks',
    disks: '/disks',
    tasks: '/tasks',
    task: `/tasks/${task}`,
    events: '/events',
    users: '/users',
    tokens: '/tokens',
    audit: '/audit',
    account: '/account',
    about: '/about',
    missing: '/no-such-page',
  };
}
