// The rules of a security group as people write them: one a line, as hypervisor-agent/types/src/filter.rs reads them.
//
// A direction has three states, which are not to be mixed up: not spoken of (open, unless another group speaks of it),
// a list of what is allowed, and an empty list (closed).

import type { Rule, SecurityGroup } from '../../api/generated';
import { msg } from '../../i18n/msg';

export type Way = 'open' | 'listed' | 'closed';

export interface Direction {
  way: Way;
  /** One rule a line; it stays while another way is chosen. */
  text: string;
}

export const WAYS: Record<Way, string> = {
  open: msg('Not spoken of: open, unless another group of the VM speaks of it'),
  listed: msg('Only what is listed'),
  closed: msg('Nothing'),
};

const PORTS = '\\d{1,5}(?:-\\d{1,5})?';
const SHAPE = new RegExp(`^(?:any|icmp|(?:tcp|udp)(?::(${PORTS}(?:,${PORTS})*))?)(?: +(.+))?$`);
const PEER = /^(?:any|tag:.+|[0-9a-fA-F:.]+(?:\/\d{1,3})?)$/;

const lines = (text: string) => [...new Set(text.split('\n').map((line) => line.trim()).filter(Boolean))];

function portsFit(ports: string): boolean {
  return ports.split(',').every((range) => {
    const [first = 0, last = first] = range.split('-').map(Number);
    return first >= 1 && first <= last && last <= 65_535;
  });
}

/** The first line that is no rule. What is right here may still be refused: addresses are read by the orchestrator. */
export function wrongRule(text: string): string | undefined {
  return lines(text).find((line) => {
    const parts = SHAPE.exec(line);
    return !parts || (parts[1] !== undefined && !portsFit(parts[1])) || (parts[2] !== undefined && !PEER.test(parts[2].trim()));
  });
}

export function fromRules(rules: Rule[] | null | undefined): Direction {
  if (!rules) return { way: 'open', text: '' };
  return { way: rules.length > 0 ? 'listed' : 'closed', text: rules.join('\n') };
}

export function toRules({ way, text }: Direction): Rule[] | null {
  return way === 'open' ? null : way === 'closed' ? [] : lines(text);
}

export function directionReady({ way, text }: Direction): boolean {
  return way !== 'listed' || (lines(text).length > 0 && wrongRule(text) === undefined);
}

type Translate = (text: string, values?: Record<string, unknown>) => string;

/** A direction in a table's cell. */
export function directionWords(rules: Rule[] | null | undefined, t: Translate): string {
  if (!rules) return t('open');
  return rules.length > 0 ? rules.join('; ') : t('nothing');
}

export const sameRules = (group: SecurityGroup, ingress: Direction, egress: Direction): boolean =>
  JSON.stringify([group.ingress ?? null, group.egress ?? null]) === JSON.stringify([toRules(ingress), toRules(egress)]);
