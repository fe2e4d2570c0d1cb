// What cloud-init does with a text, and what of it is replaced: orchestrator/src/app/fragment.rs, cloud_init.rs and
// cloud_init/archive.rs, mirrored. The orchestrator decides.

import type { FragmentKind } from '../../api/generated';
import { msg } from '../../i18n/msg';

export const KIND: Record<FragmentKind, { label: string; about: string }> = {
  cloud_config: { label: msg('Cloud-config'), about: msg('Merged with the others of its kind: of two values the later one holds, and lists are joined.') },
  script: { label: msg('Script'), about: msg('Runs once, at the end of the first boot, behind the scripts before it.') },
  boothook: { label: msg('Boothook'), about: msg('Runs early in every boot.') },
};

/** Of one fragment. */
const MOST_BYTES = 64 * 1024;
/** For one VM. */
export const MOST_FRAGMENTS = 32;

const JINJA = '## template: jinja';

function ofBody(body: string): FragmentKind | undefined {
  const first = (body.split('\n', 1)[0] ?? '').trimEnd();
  // Not `#cloud-config-archive`.
  if (first === '#cloud-config' || first.startsWith('#cloud-config ')) return 'cloud_config';
  if (first.startsWith('#cloud-boothook')) return 'boothook';
  return first.startsWith('#!') ? 'script' : undefined;
}

/** What a text is, where it can be a part beside others. */
export function kindOf(text: string): FragmentKind | undefined {
  if (!text.startsWith(JINJA)) return ofBody(text);
  const end = text.indexOf('\n');
  const kind = end < 0 ? undefined : ofBody(text.slice(end + 1));
  return kind === 'boothook' ? undefined : kind;
}

/** Why a text would be refused as a fragment, marked with `msg`. */
export function textProblem(text: string): string | undefined {
  if (new TextEncoder().encode(text).length > MOST_BYTES) return msg('A fragment has 64 KiB at most.');
  return kindOf(text) ? undefined : msg('The first line has to be #cloud-config, a script’s #! or #cloud-boothook; below “## template: jinja”, the second one of the first two.');
}

/** A deployment knows them by itself. */
export const OWN_VARIABLES = ['name', 'hostname'];

/** What is replaced is written so. */
const PLACE = /\$\{(\w+)\}/g;

/** Names of what a deployment may replace in these texts. Some are a script's own: they are left as they are. */
export function variablesIn(texts: string[]): string[] {
  const found = texts.flatMap((text) => [...text.matchAll(PLACE)].map(([, name]) => name as string));
  return [...new Set(found)].filter((name) => !OWN_VARIABLES.includes(name)).sort();
}

/** Each value in its places; what a value holds is not looked at again. */
export function filled(text: string, values: Map<string, string>): string {
  return text.replace(PLACE, (place, name: string) => values.get(name) ?? place);
}
