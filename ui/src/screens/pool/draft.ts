// What the form about balancing gathers, and the call that it becomes: what was changed, and nothing else.

import type { BalancePolicy, SetBalance } from '../../api/generated';

export type BalanceDraft = Required<BalancePolicy>;

/** As the API has them where nothing is said. */
const USUAL: BalanceDraft = {
  mode: 'off',
  goal: 'performance',
  threshold_percent: 10,
  min_gain_percent: 5,
  ceiling_percent: 80,
  moves: 20,
  at_once: 4,
  per_host: 2,
  per_hour: 60,
  cool_down_minutes: 60,
  power_hosts: false,
  hosts_on: 2,
  power_cool_down_minutes: 30,
};

export const policyOf = (policy: BalancePolicy): BalanceDraft => ({ ...USUAL, ...policy });

export function balanceParams(pool: string, before: BalancePolicy, draft: BalanceDraft): SetBalance {
  const old = policyOf(before);
  const keys = Object.keys(draft) as (keyof BalanceDraft)[];
  return { pool, ...Object.fromEntries(keys.filter((key) => draft[key] !== old[key]).map((key) => [key, draft[key]])) };
}
