// What can be done with a host.

import { useTranslation } from 'react-i18next';
import type { Host } from '../../api/generated';
import { useActs } from '../../parts/acts';

export function useHostVerbs() {
  const { t } = useTranslation();
  const { run, ask } = useActs();
  return {
    maintenance(host: Host) {
      const maintenance = !host.maintenance;
      void run({
        method: 'host.set_maintenance',
        params: { host: host.id, maintenance },
        title: maintenance ? t('Maintenance of {{name}}', { name: host.name }) : t('End the maintenance of {{name}}', { name: host.name }),
      });
    },
    remove(host: Host, done?: () => void) {
      ask({
        method: 'host.remove',
        params: { host: host.id },
        title: t('Remove {{name}}', { name: host.name }),
        text: t('{{name}} is forgotten and its certificate revoked. It can join again with a new token. Its {{count}} VMs run on.', {
          name: host.name,
          count: host.vms,
        }),
        button: t('Remove'),
        typeName: host.name,
        choices: host.vms > 0 ? [{ field: 'force', label: t('Forget the definitions of its VMs too') }] : [],
        done,
      });
    },
  };
}
