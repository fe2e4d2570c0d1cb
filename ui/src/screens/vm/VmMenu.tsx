// What can be done with one VM.

import { useTranslation } from 'react-i18next';
import type { Protection, VmRow } from '../../api/generated';
import { useActs, type Act, type Question } from '../../parts/acts';
import { VerbMenu, type Verb } from '../../parts/VerbMenu';
import type { Place } from '../../rules/may';
import { discards, VM_VERBS, verbLabel, verbParams, vmCannot, type VerbInfo } from '../../rules/vm';
import { useUser } from '../../shell/user';

/** Lists do not tell what a VM is protected from; its page does. */
type Subject = Pick<VmRow, 'id' | 'name' | 'power' | 'managed'> & { protection?: Protection; standby_of?: string | null };

/** A verb as a call, with what is asked before it. */
export function useVmActs() {
  const { t } = useTranslation();
  return (vm: Subject, verb: VerbInfo, done?: () => void): { act: Act; question?: Omit<Question, keyof Act> } => {
    const title = t('{{verb}}: {{name}}', { verb: t(verbLabel(verb, vm.power)), name: vm.name });
    const act: Act = { method: verb.method, params: verbParams(verb.method, vm), title };
    if (verb.method === 'vm.delete') {
      const text = t('{{name}} and its disks are deleted. Backups stay. This cannot be taken back.', { name: vm.name });
      const choices = [{ field: 'keep_disks', label: t('Keep its disks') }];
      return { act, question: { text, button: t('Delete'), typeName: vm.name, choices, done } };
    }
    if (discards(verb.method, vm.power)) {
      const text = t('{{name}} is suspended. The memory that was saved of it is lost, and it boots as after a power cut. This cannot be taken back.', { name: vm.name });
      return { act, question: { text, button: t('Discard') } };
    }
    if (verb.method === 'vm.power_off') {
      const text = t('{{name}} ends at once, like pulling its plug: what its guest has not written is lost.', { name: vm.name });
      return { act, question: { text, button: t('Power off') } };
    }
    return { act };
  };
}

export function useVmVerb() {
  const { run, ask } = useActs();
  const acts = useVmActs();
  return (vm: Subject, verb: VerbInfo) => {
    const { act, question } = acts(vm, verb);
    if (question) ask({ ...act, ...question });
    else void run(act);
  };
}

export function useVmVerbs() {
  const { t } = useTranslation();
  const user = useUser();
  const acts = useVmActs();
  return (vm: Subject, place?: Place, deleted?: () => void): Verb[] =>
    VM_VERBS.map((verb) => {
      const done = verb.method === 'vm.delete' ? deleted : undefined;
      return { label: t(verbLabel(verb, vm.power)), danger: verb.danger, why: vmCannot(user, verb.method, vm, place), ...acts(vm, verb, done) };
    });
}

interface Props {
  vm: Subject;
  place?: Place;
  labelled?: boolean;
  deleted?: () => void;
  /** Before the deleting. */
  more?: Verb[];
}

export function VmMenu({ vm, place, labelled, deleted, more = [] }: Props) {
  const verbs = useVmVerbs()(vm, place, deleted);
  return <VerbMenu name={vm.name} labelled={labelled} verbs={[...verbs.slice(0, -2), ...more, ...verbs.slice(-2)]} />;
}
