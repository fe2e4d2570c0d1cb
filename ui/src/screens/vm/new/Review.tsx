// All of it once more, checked by the orchestrator (a dry run) before it is done.

import { Checkbox, List, ListItem } from '@patternfly/react-core';
import { useQuery } from '@tanstack/react-query';
import { useTranslation } from 'react-i18next';
import { useSocket } from '../../../api/client';
import type { Placement } from '../../../api/generated';
import { Alert } from '../../../parts/Alert';
import { Facts } from '../../../parts/Facts';
import { ErrorBox, Loading } from '../../../parts/feedback';
import { useFormat } from '../../../parts/format';
import { params } from './draft';
import type { StepProps } from './NewVm';

export function Review({ draft, set }: StepProps) {
  const { t } = useTranslation();
  const format = useFormat();
  const socket = useSocket();
  const plan = useQuery({
    queryKey: ['plan', 'vm.create', draft],
    queryFn: () => socket.call('vm.create', { ...params(draft), dry_run: true } as never) as unknown as Promise<{ plan: { placement: Placement } }>,
    gcTime: 0,
    retry: false,
  });
  const placement = plan.data?.plan.placement;
  const chosen = placement?.candidates.find(({ host }) => host === placement.host);
  const size = draft.disks.reduce((sum, disk) => sum + (disk.kind === 'new' ? disk.gib : 0), 0);
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
      <Facts
        facts={[
          [t('Name'), draft.name],
          [t('Kind'), draft.kind.toUpperCase()],
          draft.kind !== 'hvm' && [t('Kernel'), [draft.kernel, draft.ramdisk].filter(Boolean).join(' + ')],
          [t('vCPUs'), draft.vcpus],
          [t('Memory'), format.mib(draft.memory)],
          [t('Disks'), draft.disks.length ? `${t('{{count}} disks', { count: draft.disks.length })}${size ? `, ${format.bytes(size * 1024 ** 3)}` : ''}` : t('none')],
          draft.kind === 'hvm' && draft.iso !== '' && [t('CD in the drive'), t('yes')],
          [t('NICs'), format.number(draft.nics.length)],
          [t('Tags'), draft.tags],
        ]}
      />
      <Checkbox id="vm-start" className="x-above" label={t('Start it when it is made')} isChecked={draft.start} onChange={(_event, start) => set({ start })} />
    </>
  );
}
