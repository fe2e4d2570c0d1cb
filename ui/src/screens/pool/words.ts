// Balancing and CPU levels in words.

import type { BalanceGoal, BalanceMode, CpuLevelMode } from '../../api/generated';
import { msg } from '../../i18n/msg';

export const MODE: Record<BalanceMode, { label: string; text: string }> = {
  off: { label: msg('By hand'), text: msg('Somebody asks for a plan.') },
  propose: { label: msg('Proposed'), text: msg('Plans are made and shown; somebody carries them out.') },
  automatic: { label: msg('By itself'), text: msg('Plans are made and carried out.') },
};

export const GOAL: Record<BalanceGoal, string> = {
  performance: msg('No host much fuller than the others'),
  density: msg('As few hosts as can be'),
};

export const LEVEL: Record<CpuLevelMode['kind'], { label: string; text: string }> = {
  off: { label: msg('No level'), text: msg('Each VM gets all that its host has, and goes as it runs to hosts of the same model only.') },
  auto: { label: msg('What all hosts have'), text: msg('Of one maker among themselves. It falls when a host joins that has less.') },
  set: { label: msg('These features'), text: msg('No more than these, also where hosts have more: those of a host that is to come, for example.') },
};
