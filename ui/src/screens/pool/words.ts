// Balancing in words.

import type { BalanceGoal, BalanceMode } from '../../api/generated';
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
