// The backups of a VM, and one more now.

import { Checkbox, FormGroup } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { Quiesce, Vm } from '../../api/generated';
import { msg } from '../../i18n/msg';
import { CreateButton } from '../../parts/CreateButton';
import { FormDialog } from '../../parts/FormDialog';
import { vmCannotChange } from '../../rules/vm';
import { useUser } from '../../shell/user';
import { BackupList } from './BackupList';
import { NoRepository } from './NoRepository';
import { QuiesceField } from './quiesce';
import { useAll } from '../../list/all';

export function VmBackups({ vm }: { vm: Vm }) {
  const { t } = useTranslation();
  const user = useUser();
  const [making, setMaking] = useState(false);
  const place = { pool: vm.pool, tags: vm.tags };
  const why = vmCannotChange(user, 'backup.create', vm, place) ?? (vm.spec?.disks?.length ? undefined : msg('It has no disks.'));
  return (
    <>
      <BackupList vm={vm.id} create={<CreateButton secondary label={t('Back up now')} why={why} go={() => setMaking(true)} />} />
      {making && <BackUp vm={vm} close={() => setMaking(false)} />}
    </>
  );
}

function BackUp({ vm, close }: { vm: Vm; close: () => void }) {
  const { t } = useTranslation();
  const repositories = useAll('repository.list', {});
  const [chosen, setChosen] = useState<string[]>();
  const [quiesce, setQuiesce] = useState<Quiesce>('try');
  const only = repositories.data?.length === 1 ? repositories.data.map(({ id }) => id) : [];
  const into = chosen ?? only;
  return (
    <FormDialog act={{ method: 'backup.create', params: { vm: vm.id, repositories: into, ...(quiesce === 'try' ? {} : { quiesce }) }, title: t('Back {{name}} up', { name: vm.name }) }} button={t('Back up')} ready={into.length > 0} close={close} about={t('All its disks at one instant, while it runs. No rule forgets it unless a job covers the VM.')}>
      {repositories.data?.length === 0 && <NoRepository />}
      <FormGroup role="group" label={t('Into')} isRequired>
        {repositories.data?.map(({ id, name }) => (
          <Checkbox key={id} id={`into-${id}`} label={name} isChecked={into.includes(id)} onChange={(_event, on) => setChosen(on ? [...into, id] : into.filter((one) => one !== id))} />
        ))}
      </FormGroup>
      <QuiesceField id="backup-quiesce" value={quiesce} set={setQuiesce} />
    </FormDialog>
  );
}
