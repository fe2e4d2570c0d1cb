// Says when what is shown is old, how old, and that it mends itself.

import { useTranslation } from 'react-i18next';
import { useLink, useRead } from '../api/client';
import { FALLBACK_MS } from '../live/again';
import { Alert } from '../parts/Alert';
import { useFormat } from '../parts/format';

export function LinkBanner() {
  const { t } = useTranslation();
  const format = useFormat();
  const { link, age } = useLink();
  const health = useRead('system.health', {}, { every: FALLBACK_MS });
  if (link === 'lost' && age >= 1) {
    return (
      <Alert isInline variant="warning" className="x-banner" title={t('No connection to the orchestrator')}>
        {t('What you see is {{age}} old. The page connects again by itself; VMs do not notice.', {
          age: format.duration(age),
        })}
      </Alert>
    );
  }
  if (health.data?.read_only) {
    return (
      <Alert isInline variant="danger" className="x-banner" title={t('The orchestrator cannot write: only reading works')}>
        {health.data.read_only} {t('Free space on the orchestrator’s disk; it recovers by itself.')}
      </Alert>
    );
  }
  return null;
}
