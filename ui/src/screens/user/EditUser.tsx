// A user made, or changed: password, roles, and whether they may sign in.

import { Checkbox } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { Binding, UpdateUser, User } from '../../api/generated';
import { TextField } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';
import { BindingsField, complete } from './Bindings';

const SHORTEST = 12;

export function EditUser({ user, close }: { user?: User; close: () => void }) {
  const { t } = useTranslation();
  const [name, setName] = useState('');
  const [password, setPassword] = useState('');
  const [bindings, setBindings] = useState<Binding[]>(user?.bindings ?? [{ role: 'viewer', scope: { kind: 'all' } }]);
  const [enabled, setEnabled] = useState(!user?.disabled);
  const short = password.length < SHORTEST ? t('At least {{count}} characters.', { count: SHORTEST }) : undefined;
  const passwordField = (
    <TextField
      id="user-password"
      label={user ? t('New password') : t('Password')}
      type="password"
      value={password}
      set={setPassword}
      required={!user}
      wrong={short}
      help={user ? t('Empty: stays as it is.') : t('At least {{count}} characters.', { count: SHORTEST })}
    />
  );
  if (!user) {
    return (
      <FormDialog
        secret
        act={{ method: 'user.create', params: { name, password, bindings }, title: t('Create a user') }}
        button={t('Create')}
        ready={name !== '' && !short && complete(bindings)}
        close={close}
      >
        <TextField id="user-name" label={t('Name')} value={name} set={setName} required autoFocus />
        {passwordField}
        <BindingsField bindings={bindings} set={setBindings} none={t('Without a role the user sees nothing.')} />
      </FormDialog>
    );
  }
  const params: UpdateUser = { user: user.id };
  if (password) params.password = password;
  if (JSON.stringify(bindings) !== JSON.stringify(user.bindings)) params.bindings = bindings;
  if (enabled === user.disabled) params.disabled = !enabled;
  const same = Object.keys(params).length === 1;
  return (
    <FormDialog
      secret={!!password}
      act={{ method: 'user.update', params, title: t('Change the user {{name}}', { name: user.name }) }}
      button={t('Change')}
      ready={!same && complete(bindings) && (!password || !short)}
      waits={t('Nothing is changed yet.')}
      close={close}
    >
      <Checkbox id="user-enabled" label={t('May sign in')} isChecked={enabled} onChange={(_event, on) => setEnabled(on)} />
      {passwordField}
      <BindingsField bindings={bindings} set={setBindings} none={t('Without a role the user sees nothing.')} />
    </FormDialog>
  );
}
