// All of it once more, checked by the orchestrator (a dry run) before anything is made.

import { List, ListItem } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';
import { usePlan } from '../../../api/client';
import type { Placement, UploadVm } from '../../../api/generated';
import type { Found } from '../../../api/package';
import { Alert } from '../../../parts/Alert';
import { Facts } from '../../../parts/Facts';
import { ErrorBox, Loading } from '../../../parts/feedback';
import { useFormat } from '../../../parts/format';
import { sizeOf } from './draft';

export function Review({ params, found }: { params: UploadVm; found: Found }) {
  const { t } = useTranslation();
  const format = useFormat();
  const plan = usePlan<{ placement: Placement }>('import.upload', params);
  const placement = plan.data?.plan.placement;
  const chosen = placement?.candidates.find(({ host }) => host === placement.host);
  const left = found.nics.length - (params.vm.nics?.length ?? 0);
  return (
    <>
      {plan.isPending && <Loading lines={2} />}
      {plan.isError && <ErrorBox error={plan.error} title={t('It would be refused')} retry={() => void plan.refetch()} />}
      {chosen && (
        <Alert isInline variant="success" title={t('All checks pass. It goes to {{host}}.', { host: chosen.name })} className="x-gap">
          <List isPlain>
            {chosen.reasons.map((reason) => (
              <ListItem key={reason}>{reason}</ListItem>
            ))}
          </List>
        </Alert>
      )}
      {left > 0 && <Alert isInline variant="info" className="x-gap" title={t('NICs that are left out: {{count}}', { count: left })} />}
      <Facts
        facts={[
          [t('File'), params.file],
          [t('Name'), params.vm.name],
          [t('vCPUs'), params.vm.vcpus.online],
          [t('Memory'), format.mib(params.vm.memory.target)],
          [t('Disks'), `${t('{{count}} disks', { count: found.disks.length })}, ${format.bytes(sizeOf(found))}`],
          [t('NICs'), format.number(params.vm.nics?.length ?? 0)],
        ]}
      />
      <p className="x-dim x-above">{t('The VM is made when you begin; it can be started when its disks are here. Keep this browser page open until then: other screens are fine.')}</p>
    </>
  );
}
