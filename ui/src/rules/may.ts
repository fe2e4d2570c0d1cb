// Who may do what: orchestrator/api/src/caller.rs and orchestrator/types/src/access.rs, mirrored. The orchestrator
// decides; this only keeps buttons from promising what it will refuse.

import { msg } from '../i18n/msg';
import { METHODS, type Binding, type MethodName, type Permission, type Role, type User } from '../api/generated';

const ALLOWS: Record<Role, Permission[]> = {
  viewer: ['anyone', 'own', 'view'],
  operator: ['anyone', 'own', 'view', 'operate', 'provision'],
  admin: ['anyone', 'own', 'view', 'operate', 'provision', 'administer', 'system', 'secure'],
};

export interface Place {
  pool?: string | null;
  tags?: string[];
}

const allows = (binding: Binding, permission: Permission) => ALLOWS[binding.role].includes(permission);

function covers(binding: Binding, place: Place): boolean {
  switch (binding.scope.kind) {
    case 'all':
      return true;
    case 'pool':
      return binding.scope.value === place.pool;
    case 'tag':
      return (place.tags ?? []).includes(binding.scope.value);
  }
}

/** Why `user` may not call `method` (on something at `place`); nothing when they may. */
export function mayNot(user: User, method: MethodName, place?: Place): string | undefined {
  const { permission } = METHODS[method];
  const holding = user.bindings.filter((binding) => allows(binding, permission));
  switch (permission) {
    case 'anyone':
    case 'own':
      return undefined;
    case 'administer':
      if (holding.length === 0) return msg('This needs the role admin.');
      return !place || holding.some((binding) => covers(binding, place))
        ? undefined
        : msg('Your role admin does not reach this pool or these tags.');
    case 'system':
    case 'secure':
      return holding.some((binding) => binding.scope.kind === 'all')
        ? undefined
        : msg('This needs the role admin of everything.');
    case 'operate':
    case 'provision':
      if (holding.length === 0) return msg('This needs the role operator.');
      return !place || holding.some((binding) => covers(binding, place))
        ? undefined
        : msg('Your role operator does not reach this pool or these tags.');
    case 'view':
      return holding.length > 0 ? undefined : msg('This needs the role viewer.');
  }
}

/** Which entries of the navigation there are for them. */
export function seesSecurity(user: User): boolean {
  return mayNot(user, 'user.list') === undefined;
}
