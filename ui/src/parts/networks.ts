// Networks of a VM and those that stand for them elsewhere, as forms gather them.

/** Without that network card. Networks are named by ids, so that this is none. */
export const NO_CARD = 'none';

/** By the network that the VM has: another's id, `NO_CARD`, or nothing where it stays as it is. */
export type NetworkChoices = Record<string, string>;

/** As the API takes them; nothing where all stay. */
export function mapped(choices: NetworkChoices): { networks?: Record<string, string> } {
  const chosen = Object.entries(choices).filter(([, to]) => to !== '');
  return chosen.length > 0 ? { networks: Object.fromEntries(chosen.map(([from, to]) => [from, to === NO_CARD ? '' : to])) } : {};
}
