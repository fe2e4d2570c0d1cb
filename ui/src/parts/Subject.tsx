import { Link } from 'react-router';

const PAGES: Record<string, string> = {
  vm: '/vms',
  host: '/hosts',
  pool: '/pools',
  network: '/networks',
  sr: '/storage',
  template: '/templates',
  fragment: '/fragments',
  import: '/imports',
  wave: '/waves',
  standby: '/standbys',
  job: '/jobs',
  backup_job: '/jobs',
  run: '/runs',
  backup_run: '/runs',
  alarm_rule: '/alarm-rules',
  task: '/tasks',
  user: '/users',
};

/** A link to what `vm/…` or `host/…` names, where there is a page for it. */
export function Subject({ subject, children }: { subject: string; children: React.ReactNode }) {
  const [noun, id] = subject.split('/');
  const page = noun && PAGES[noun];
  return page && id ? <Link to={`${page}/${id}`}>{children}</Link> : <>{children}</>;
}
