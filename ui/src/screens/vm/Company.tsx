// Which VMs one should share a host with, and which it should not: heeded when it is placed the next time, and by
// balancing.

import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import type { UpdateVm, Vm } from '../../api/generated';
import { Facts } from '../../parts/Facts';
import { TextField, words } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';
import { useVmNames } from '../../parts/names';
import { Changeable } from './HardwareCard';

export function CompanyCard({ vm, why }: { vm: Vm; why?: string }) {
  const { t } = useTranslation();
  const [editing, setEditing] = useState(false);
  const { apart_from: apart, together_with: together } = vm;
  const ids = useMemo(() => [...(apart ?? []), ...(together ?? [])], [apart, together]);
  const known = useVmNames(ids);
  const name = (id: string) => known(id) ?? id;
  const links = (list: string[] = []) =>
    list.length > 0 && (
      <span className="x-labels">
        {list.map((id) => (
          <Link key={id} to={`/vms/${id}`}>
            {name(id)}
          </Link>
        ))}
      </span>
    );
  return (
    <Changeable title={t('Company')} why={why} change={() => setEditing(true)}>
      <Facts
        facts={[
          [t('Rather with'), links(together) || t('nobody')],
          [t('Rather without'), links(apart) || t('nobody')],
        ]}
      />
      {editing && <EditCompany vm={vm} name={name} close={() => setEditing(false)} />}
    </Changeable>
  );
}

/** What differs, of the two lists; `before` by names, as it was shown. */
export function companyParams(vm: string, before: { together: string; apart: string }, after: { together: string; apart: string }): UpdateVm {
  const differ = (key: 'together' | 'apart') => words(before[key]).join() !== words(after[key]).join();
  return {
    vm,
    ...(differ('together') ? { together_with: words(after.together) } : {}),
    ...(differ('apart') ? { apart_from: words(after.apart) } : {}),
  };
}

/** What a change is taken back by. The list that it did not touch is not sent: it may name VMs that who asks does not see. */
export function companyBack(vm: Vm, { together_with, apart_from }: UpdateVm): UpdateVm {
  return {
    vm: vm.id,
    ...(together_with ? { together_with: vm.together_with ?? [] } : {}),
    ...(apart_from ? { apart_from: vm.apart_from ?? [] } : {}),
  };
}

function EditCompany({ vm, name, close }: { vm: Vm; name(id: string): string; close: () => void }) {
  const { t } = useTranslation();
  const text = (list: string[] = []) => list.map(name).join(' ');
  const [before] = useState({ together: text(vm.together_with), apart: text(vm.apart_from) });
  const [together, setTogether] = useState(before.together);
  const [apart, setApart] = useState(before.apart);
  const params = companyParams(vm.id, before, { together, apart });
  const both = words(together).filter((one) => words(apart).includes(one));
  return (
    <FormDialog
      act={{
        method: 'vm.update',
        params,
        title: t('Company of {{name}}', { name: vm.name }),
        undo: { method: 'vm.update', params: companyBack(vm, params) },
      }}
      button={t('Change')}
      ready={Object.keys(params).length > 1 && both.length === 0}
      waits={t('Nothing is changed yet.')}
      close={close}
      about={t('Heeded when it is placed the next time, and by balancing. Nothing moves now.')}
    >
      <TextField id="company-with" label={t('Rather with')} value={together} set={setTogether} autoFocus help={t('Names or ids of VMs, with spaces or commas between.')} />
      <TextField id="company-without" label={t('Rather without')} value={apart} set={setApart} wrong={both.length > 0 ? t('These are in both: {{names}}', { names: both.join(', ') }) : undefined} help={t('So that one host’s death does not take both.')} />
    </FormDialog>
  );
}
