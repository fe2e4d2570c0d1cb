// From a list to the metrics of what its filter finds.

import { Button, ToolbarItem, Tooltip } from '@patternfly/react-core';
import MetricsIcon from '@patternfly/react-icons/dist/esm/icons/chart-line-icon';
import { useMemo } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import type { Measured } from '../../api/generated';

export function metricsOf(of: Measured, filter: string): string {
  const params = new URLSearchParams({ ...(of === 'host' ? { of } : {}), ...(filter ? { q: filter } : {}) });
  return params.size > 0 ? `/metrics?${params}` : '/metrics';
}

export function MetricsLink({ of, filter }: { of: Measured; filter: string }) {
  const { t } = useTranslation();
  const to = metricsOf(of, filter);
  // Another function would be another link: a list that changes would take the focus away.
  const To = useMemo(() => (props: object) => <Link {...props} to={to} />, [to]);
  return (
    <ToolbarItem>
      <Tooltip content={t('Their metrics beside each other')}>
        <Button variant="plain" aria-label={t('Their metrics beside each other')} icon={<MetricsIcon />} component={To} />
      </Tooltip>
    </ToolbarItem>
  );
}
