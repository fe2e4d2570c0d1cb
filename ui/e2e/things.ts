// A small fleet with something of everything, and the ids of it.

import { until, type Stage } from './stage';
import type { Things } from './screens';

interface Named {
  id: string;
  name: string;
}

export async function fill(stage: Stage) {
  await stage.call('user.create', { name: 'dora', password: 'correct horse battery', bindings: [{ role: 'operator', scope: { kind: 'tag', value: 'dev' } }] });
  await stage.run('vm.create', stage.small('web-1', { start: true, tags: ['prod', 'web'], description: 'The shop’s front end' }));
  for (const name of ['web-2', 'db-1', 'db-2', 'build-1', 'mail']) {
    await stage.run('vm.create', stage.small(name, { start: name !== 'mail', tags: name.startsWith('db') ? ['prod', 'db'] : ['dev'] }));
  }
  await stage.run('vm.pause', { vm: 'build-1' });
  await stage.run('vm.suspend', { vm: 'db-2' });
  // A tree: two hang on the first, one on the last.
  const take = (name: string, description = '') => stage.run('snapshot.create', { vm: 'mail', name, description });
  await take('fresh', 'Just installed');
  await take('configured');
  await stage.run('snapshot.revert', { vm: 'mail', snapshot: 'fresh' });
  await take('other-mta');
  await take('other-mta-tuned');
  await stage.call('security_group.create', { name: 'web', tag: 'web', ingress: ['tcp:80,443', 'tcp:22 10.0.0.0/8'] });
  await stage.call('security_group.create', { name: 'db', tag: 'db', ingress: ['tcp:5432 tag:web'], egress: [] });
  await stage.call('network.create', { name: 'office', uplink: { kind: 'internal' } });
  await back(stage);
  await stage.run('template.create', { vm: 'mail', name: 'debian-mail', description: 'A mail server, as it was tested' });
  await stage.call('fragment.create', { name: 'base', user_data: '#cloud-config\npackages: [vim]\n', description: 'In every VM' });
  await stage.call('fragment.create', { name: 'join', user_data: '#!/bin/sh\necho ${name} ${role}\n' });
  await stage.call('template.set_fragments', { template: 'debian-mail', fragments: ['base'] });
}

/** A repository with what a job of two VMs has brought, by hand. */
async function back(stage: Stage) {
  await stage.run('repository.create', { name: 'main', place: { kind: 'folder', path: stage.place('backups') } });
  await stage.call('backup_job.create', { name: 'nightly', vms: ['mail', 'web-2'], repositories: ['main'], schedule: '0 2 * * *', keep: { daily: 7 } });
  const { run } = await stage.call<{ run: string }>('backup_job.run', { job: 'nightly' });
  await until('the backup run is over', async () => {
    const { status } = await stage.call<{ status: string }>('backup_run.get', { run });
    return status !== 'waiting' && status !== 'running';
  });
}

export async function things(stage: Stage): Promise<Things> {
  const page = async (method: string, params = {}) => (await stage.call<{ items: Named[] }>(method, params)).items;
  const id = (found: Named[], name?: string) => (found.find((one) => one.name === name) ?? found[0])?.id ?? '';
  const [backup] = (await stage.call<{ items: { id: string; repository: string }[] }>('backup.list')).items;
  return {
    vm: id(await page('vm.list'), 'mail'),
    host: id(await page('host.list')),
    task: id(await page('task.list')),
    network: id(await page('network.list')),
    pool: id(await page('pool.list')),
    sr: id(await page('sr.list')),
    template: id(await page('template.list')),
    fragment: id(await page('fragment.list')),
    job: id(await page('backup_job.list')),
    run: id(await page('backup_run.list')),
    user: id(await page('user.list'), 'dora'),
    backup: backup ? `${backup.repository}/${backup.id}` : '',
  };
}

/** What is called so by people and not by the UI, longest first. */
export async function namesOf(stage: Stage): Promise<string[]> {
  const paged = await Promise.all(['vm.list', 'host.list', 'vdi.list', 'task.list', 'event.list'].map((method) => stage.call<{ items: (Partial<Named> & { title?: string; message?: string })[] }>(method, { limit: 1000 })));
  const whole = await Promise.all(['pool.list', 'network.list', 'sr.list', 'template.list', 'fragment.list', 'user.list', 'snapshot.list', 'security_group.list', 'repository.list', 'backup_job.list'].map((method) => stage.call<{ items: (Named & { bridge?: string })[] }>(method, { limit: 1000 })));
  const found = [...paged.flatMap(({ items }) => items.flatMap(({ name, title, message }) => [name, title, message])), ...whole.flatMap(({ items }) => items).flatMap(({ name, bridge }) => [name, bridge])];
  const fixed = ['Xenith', 'English', 'Français', 'PVH', 'HVM', 'UEFI', 'BIOS', 'VNC'];
  return [...new Set([...found.filter((name): name is string => !!name), ...fixed])].sort((a, b) => b.length - a.length);
}
