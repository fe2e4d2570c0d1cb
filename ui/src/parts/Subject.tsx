import { Link } from 'react-router';

const PAGES: Record<string, string> = { vm: '/vms', host: '/hosts', task: '/tasks', sr: '/storage', template: '/templates', network: '/networks', import: '/imports', job: '/jobs', run: '/runs' };

/** A link to what `vm/…` or `host/…` names, where there is a page for it. */
export function Subject({ subject, children }: { subject: string; children: React.ReactNode }) {
  const [noun, id] = subject.split('/');
  const page = noun && PAGES[noun];
  return page && id ? <Link to={`${page}/${id}`}>{children}</Link> : <>{children}</>;
}
