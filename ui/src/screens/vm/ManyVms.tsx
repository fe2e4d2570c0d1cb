// What is done with many VMs and asks for something first: their tags, a snapshot of each, a backup of each.

import { Checkbox, Form, FormGroup } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { MethodName, VmRow } from '../../api/generated';
import { msg } from '../../i18n/msg';
import { useAll } from '../../list/all';
import { Bulk, type BulkItem } from '../../list/Bulk';
import type { Act } from '../../parts/acts';
import { TextField, words } from '../../parts/fields';
import { vmCannotChange } from '../../rules/vm';
import { useUser } from '../../shell/user';

interface Props {
  vms: VmRow[];
  close(): void;
}

const HAS_THEM = msg('Its tags are that already.');

/** Tags as they are after: roles, jobs and rules hang on them. */
export function tagged(tags: string[], add: string[], take: string[]): string[] {
  return [...new Set([...tags, ...add])].filter((tag) => !take.includes(tag)).sort();
}

function useItems() {
  const user = useUser();
  return (vms: VmRow[], method: MethodName, act: (vm: VmRow) => Act | undefined, without?: string): BulkItem[] =>
    vms.map((vm) => {
      const made = act(vm);
      return { id: vm.id, name: vm.name, act: made, cannot: vmCannotChange(user, method, vm) ?? (made ? undefined : without) };
    });
}

export function TagVms({ vms, close }: Props) {
  const { t } = useTranslation();
  const items = useItems();
  const [add, setAdd] = useState('');
  const [take, setTake] = useState('');
  const title = t('Tags: {{count}} selected', { count: vms.length });
  const asked = words(add).length + words(take).length > 0;
  const act = (vm: VmRow): Act | undefined => {
    const tags = tagged(vm.tags, words(add), words(take));
    return tags.join() === [...vm.tags].sort().join() ? undefined : { method: 'vm.update', params: { vm: vm.id, tags }, title };
  };
  return (
    <Bulk title={title} text={t('Roles, jobs and rules may hang on tags: who may do what, and what is backed up, may change.')} button={t('Change')} items={items(vms, 'vm.update', act, asked ? HAS_THEM : msg('Nothing is asked for.'))} close={close}>
      <Form onSubmit={(event) => event.preventDefault()}>
        <TextField id="many-add" label={t('Add these tags')} value={add} set={setAdd} autoFocus placeholder="prod web" />
        <TextField id="many-take" label={t('Take these away')} value={take} set={setTake} />
      </Form>
    </Bulk>
  );
}

export function SnapshotVms({ vms, close }: Props) {
  const { t } = useTranslation();
  const items = useItems();
  const [name, setName] = useState('');
  const title = t('Snapshots: {{count}} selected', { count: vms.length });
  const act = (vm: VmRow): Act | undefined => (name.trim() ? { method: 'snapshot.create', params: { vm: vm.id, name: name.trim() }, title } : undefined);
  return (
    <Bulk title={title} text={t('All disks of each at one instant of its own; memory is not kept.')} button={t('Take')} items={items(vms, 'snapshot.create', act, msg('Give a name first.'))} close={close}>
      <Form onSubmit={(event) => event.preventDefault()}>
        <TextField id="many-name" label={t('Name')} value={name} set={setName} required autoFocus placeholder="before-upgrade" />
      </Form>
    </Bulk>
  );
}

export function BackUpVms({ vms, close }: Props) {
  const { t } = useTranslation();
  const items = useItems();
  const repositories = useAll('repository.list', {});
  const [chosen, setChosen] = useState<string[]>();
  const only = repositories.data?.length === 1 ? repositories.data.map(({ id }) => id) : [];
  const into = chosen ?? only;
  const title = t('Backups: {{count}} selected', { count: vms.length });
  const act = (vm: VmRow): Act | undefined => (into.length > 0 ? { method: 'backup.create', params: { vm: vm.id, repositories: into }, title } : undefined);
  return (
    <Bulk title={title} text={t('All its disks at one instant, while it runs. No rule forgets it unless a job covers the VM.')} button={t('Back up')} items={items(vms, 'backup.create', act, repositories.data?.length === 0 ? msg('There is no repository yet; add one first.') : msg('Choose a repository first.'))} close={close}>
      <Form onSubmit={(event) => event.preventDefault()}>
        <FormGroup role="group" label={t('Into')}>
          {repositories.data?.map(({ id, name }) => (
            <Checkbox key={id} id={`many-into-${id}`} label={name} isChecked={into.includes(id)} onChange={(_event, on) => setChosen(on ? [...into, id] : into.filter((one) => one !== id))} />
          ))}
        </FormGroup>
      </Form>
    </Bulk>
  );
}
