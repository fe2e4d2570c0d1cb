// The one or two things that are done most with a VM in its state.

import { useTranslation } from 'react-i18next';
import type { Vm } from '../../api/generated';
import { WhyButton } from '../../parts/WhyButton';
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
    return (
      <WhyButton key={verb.method} variant="secondary" why={why} go={() => act(vm, verb)}>
        {t(verb.label)}
      </WhyButton>
    );
  });
}
