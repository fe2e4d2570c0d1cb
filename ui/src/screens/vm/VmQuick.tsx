// The one or two things that are done most with a VM in its state, each as a command beside it.

import { useTranslation } from 'react-i18next';
import type { Vm } from '../../api/generated';
import { CopyButton } from '../../parts/CopyButton';
import { WhyButton } from '../../parts/WhyButton';
import type { Place } from '../../rules/may';
import { VM_VERBS, vmCannot, type VmVerb } from '../../rules/vm';
import { useUser } from '../../shell/user';
import { useVmActs, useVmVerb } from './VmMenu';

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
  const go = useVmVerb();
  const acts = useVmActs();
  const verbs = VM_VERBS.filter(({ method }) => USUAL[vm.power]?.includes(method));
  return verbs.map((verb) => {
    const why = vmCannot(user, verb.method, vm, place);
    const label = t(verb.label);
    return (
      <span key={verb.method} className="x-verb">
        <WhyButton variant="secondary" why={why} go={() => go(vm, verb)}>
          {label}
        </WhyButton>
        <CopyButton act={acts(vm, verb).act} label={label} />
      </span>
    );
  });
}
