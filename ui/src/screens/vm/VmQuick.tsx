// The one or two things that are done most with a VM in its state.

import { Button, Tooltip } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';
import type { Vm } from '../../api/generated';
import type { Place } from '../../rules/may';
import { VM_VERBS, vmCannot, type VmVerb } from '../../rules/vm';
import { useUser } from '../../shell/user';
import { useVmVerb } from './VmMenu';

const USUAL: Partial<Record<Vm['power'], VmVerb[]>> = {
  stopped: ['vm.start'],
  crashed: ['vm.start'],
  running: ['vm.reboot', 'vm.shutdown'],
  paused: ['vm.unpause'],
  suspended: ['vm.resume'],
};

export function VmQuick({ vm, place }: { vm: Vm; place: Place }) {
  const { t } = useTranslation();
  const user = useUser();
  const act = useVmVerb();
  const verbs = VM_VERBS.filter(({ method }) => USUAL[vm.power]?.includes(method));
  return verbs.map((verb) => {
    const why = vmCannot(user, verb.method, vm, place);
    const button = (
      <Button key={verb.method} variant="secondary" isAriaDisabled={!!why} onClick={why ? undefined : () => act(vm, verb)}>
        {t(verb.label)}
      </Button>
    );
    return why ? (
      <Tooltip key={verb.method} content={t(why)}>
        {button}
      </Tooltip>
    ) : (
      button
    );
  });
}
