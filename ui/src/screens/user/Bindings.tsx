// Roles and where they hold: shown, and chosen.

import { Button, FormFieldGroup, FormFieldGroupHeader, FormSelect, FormSelectOption, Label, TextInput } from '@patternfly/react-core';
import MinusIcon from '@patternfly/react-icons/dist/esm/icons/minus-circle-icon';
import { useTranslation } from 'react-i18next';
import type { Binding, Role } from '../../api/generated';
import { usePoolOptions } from '../../parts/fields';
import { useNames } from '../../parts/names';
import { msg } from '../../i18n/msg';

export const ROLES: Record<Role, { label: string; text: string }> = {
  viewer: { label: msg('viewer'), text: msg('looks at everything there') },
  operator: { label: msg('operator'), text: msg('also creates, changes, starts and deletes VMs there') },
  admin: { label: msg('admin'), text: msg('also hosts, networks, users and the system, where it holds everywhere') },
};

export function useScope() {
  const { t } = useTranslation();
  const names = useNames();
  return ({ scope }: Binding) => {
    if (scope.kind === 'all') return t('everywhere');
    return scope.kind === 'pool' ? t('in the pool {{name}}', { name: names.pool(scope.value) }) : t('on VMs tagged {{tag}}', { tag: scope.value });
  };
}

export function Bindings({ bindings }: { bindings: Binding[] }) {
  const { t } = useTranslation();
  const scope = useScope();
  if (bindings.length === 0) return <span className="x-dim">{t('none')}</span>;
  return (
    <span className="x-labels">
      {bindings.map((binding) => (
        <Label key={JSON.stringify(binding)} isCompact>
          {t(ROLES[binding.role].label)} {scope(binding)}
        </Label>
      ))}
    </span>
  );
}

export function complete(bindings: Binding[]): boolean {
  return bindings.every(({ scope }) => scope.kind === 'all' || scope.value !== '');
}

export function BindingsField({ bindings, set, none }: { bindings: Binding[]; set(bindings: Binding[]): void; none: string }) {
  const { t } = useTranslation();
  const pools = usePoolOptions();
  const change = (index: number, binding: Binding) => set(bindings.map((old, at) => (at === index ? binding : old)));
  const scoped = (kind: string): Binding['scope'] => {
    if (kind === 'all') return { kind: 'all' };
    return kind === 'pool' ? { kind: 'pool', value: pools[0]?.[0] ?? '' } : { kind: 'tag', value: '' };
  };
  return (
    <FormFieldGroup
      header={
        <FormFieldGroupHeader
          titleText={{ text: t('Roles'), id: 'roles-title' }}
          titleDescription={bindings.length === 0 ? none : undefined}
          actions={
            <Button variant="link" onClick={() => set([...bindings, { role: 'viewer', scope: { kind: 'all' } }])}>
              {t('Add a role')}
            </Button>
          }
        />
      }
    >
      {bindings.map((binding, index) => (
        <div key={index} className="x-binding">
          <FormSelect aria-label={t('Role')} value={binding.role} onChange={(_event, role) => change(index, { ...binding, role: role as Role })}>
            {Object.entries(ROLES).map(([role, { label, text }]) => (
              <FormSelectOption key={role} value={role} label={`${t(label)}: ${t(text)}`} />
            ))}
          </FormSelect>
          <FormSelect aria-label={t('Where it holds')} value={binding.scope.kind} onChange={(_event, kind) => change(index, { ...binding, scope: scoped(kind) })}>
            <FormSelectOption value="all" label={t('everywhere')} />
            <FormSelectOption value="pool" label={t('in a pool')} />
            <FormSelectOption value="tag" label={t('on VMs with a tag')} />
          </FormSelect>
          {binding.scope.kind === 'pool' && (
            <FormSelect aria-label={t('Pool')} value={binding.scope.value} onChange={(_event, value) => change(index, { ...binding, scope: { kind: 'pool', value } })}>
              {pools.map(([id, name]) => (
                <FormSelectOption key={id} value={id} label={name} />
              ))}
            </FormSelect>
          )}
          {binding.scope.kind === 'tag' && (
            <TextInput aria-label={t('Tag')} isRequired placeholder={t('Tag')} value={binding.scope.value} onChange={(_event, value) => change(index, { ...binding, scope: { kind: 'tag', value } })} />
          )}
          <Button variant="plain" aria-label={t('Take this role away')} icon={<MinusIcon />} onClick={() => set(bindings.filter((_, at) => at !== index))} />
        </div>
      ))}
    </FormFieldGroup>
  );
}
