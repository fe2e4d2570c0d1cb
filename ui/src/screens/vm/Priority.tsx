// When a VM runs again elsewhere after its host has died. Its pool keeps that, beside the definition.

import { FormGroup, Radio } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useRead } from '../../api/client';
import type { RestartPriority, Vm } from '../../api/generated';
import { msg } from '../../i18n/msg';
import { FormDialog } from '../../parts/FormDialog';

const USUAL: RestartPriority = 'medium';

export const PRIORITY: Record<RestartPriority, string> = {
  high: msg('Before all others'),
  medium: msg('In the usual order, the large ones first'),
  low: msg('After all others'),
  off: msg('Not: it waits for its host'),
};

interface Known {
  /** What is set; nothing while that is not known, as to who does not see the pool. */
  priority?: RestartPriority;
  /** High availability of its pool is on. */
  on?: boolean;
}

export function usePriority(vm: Pick<Vm, 'id' | 'pool' | 'managed'>): Known {
  const read = useRead('ha.show', { pool: vm.pool ?? '' }, { enabled: vm.managed && !!vm.pool });
  if (!read.data) return {};
  const { armed, priorities } = read.data;
  return { on: !!armed, priority: priorities.find((one) => one.vm === vm.id)?.priority ?? USUAL };
}

export function SetPriority({ vm, close }: { vm: Vm; close: () => void }) {
  const { t } = useTranslation();
  const known = usePriority(vm);
  const [chosen, choose] = useState<RestartPriority>();
  const before = known.priority;
  const priority = chosen ?? before ?? USUAL;
  return (
    <FormDialog
      act={{ method: 'ha.set_priority', params: { vm: vm.id, priority }, title: t('When {{name}} runs again after its host died', { name: vm.name }), undo: before && { method: 'ha.set_priority', params: { vm: vm.id, priority: before } } }}
      button={t('Change')}
      ready={priority !== before}
      waits={t('Nothing is changed yet.')}
      close={close}
      about={t('Where the pool has high availability, once the host is proved to run nothing.')}
    >
      <FormGroup role="radiogroup" fieldId="priority" label={t('It runs elsewhere')}>
        {(Object.keys(PRIORITY) as RestartPriority[]).map((one) => (
          <Radio key={one} id={`priority-${one}`} name="priority" label={t(PRIORITY[one])} isChecked={priority === one} onChange={() => choose(one)} />
        ))}
      </FormGroup>
    </FormDialog>
  );
}
