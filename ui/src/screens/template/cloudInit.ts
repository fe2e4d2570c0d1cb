// What a guest's cloud-init is told: orchestrator/src/app/cloud_init.rs, mirrored for the preview. The orchestrator
// decides.

import { msg } from '../../i18n/msg';
import type { CloudInit } from '../../api/generated';
import { filled, kindOf, MOST_FRAGMENTS, OWN_VARIABLES } from '../fragment/kind';
import type { Part } from '../fragment/parts';

const BEGINNINGS = ['#cloud-config', '#!', '#include', '#cloud-boothook', '#part-handler', '## template: jinja', 'Content-Type: multipart/mixed', 'MIME-Version:'];

export interface CloudDraft {
  kind: 'keys' | 'own' | 'none';
  hostname: string;
  /** Ids, behind those of the template. */
  fragments: string[];
  /** One a line. */
  keys: string;
  userData: string;
  network: string;
  /** `KEY=VALUE`, one a line. */
  variables: string;
}

export const NO_CLOUD: CloudDraft = { kind: 'keys', hostname: '', fragments: [], keys: '', userData: '#cloud-config\n', network: '', variables: '' };

const lines = (text: string) => text.split('\n').map((line) => line.trim()).filter(Boolean);

/** What is in front of the first `=`, and what is behind it. */
function pairs(text: string): [string, string][] {
  return lines(text).map((line): [string, string] => {
    const at = line.indexOf('=');
    return at < 0 ? ['', line] : [line.slice(0, at).trim(), line.slice(at + 1).trim()];
  });
}

export function cloudInit(draft: CloudDraft): CloudInit | undefined {
  if (draft.kind === 'none') return undefined;
  const keys = draft.kind === 'keys' ? lines(draft.keys) : [];
  const variables = pairs(draft.variables);
  return {
    ...(draft.hostname ? { hostname: draft.hostname } : {}),
    ...(draft.fragments.length ? { fragments: draft.fragments } : {}),
    ...(keys.length ? { ssh_keys: keys } : {}),
    ...(draft.kind === 'own' ? { user_data: draft.userData } : {}),
    ...(draft.network ? { network_config: draft.network } : {}),
    ...(variables.length ? { variables: Object.fromEntries(variables) } : {}),
  };
}

const isKey = (key: string) => /^(ssh-|ecdsa-|sk-)\S*\s+\S+/.test(key);

/** What is typed here, where variables are replaced. */
export const ownTexts = (draft: CloudDraft): string[] => [draft.kind === 'own' ? draft.userData : '', draft.network];

function variableProblem(draft: CloudDraft, parts: Part[]): string | undefined {
  const names = pairs(draft.variables).map(([name]) => name);
  if (!names.every((name) => /^\w+$/.test(name))) return msg('A variable is KEY=VALUE, one a line; a key has letters, digits and _.');
  if (new Set(names).size < names.length) return msg('A variable is there twice.');
  if (names.some((name) => OWN_VARIABLES.includes(name))) return msg('${name} and ${hostname} are the VM’s own; use other names.');
  const texts = [...ownTexts(draft), ...parts.map(({ text }) => text)];
  // What has not come yet may have it.
  if (texts.some((text) => text === undefined)) return undefined;
  const used = (name: string) => texts.some((text) => text?.includes(`\${${name}}`));
  return names.every(used) ? undefined : msg('A variable is in none of the texts; it would be refused.');
}

/** Why it would be refused, marked with `msg`. `parts` are the fragments, the template's and those that are chosen here. */
export function cloudProblem(draft: CloudDraft, parts: Part[] = []): string | undefined {
  if (draft.kind === 'none') return undefined;
  if (/\s/.test(draft.hostname)) return msg('A host name has no spaces.');
  if (draft.kind === 'keys' && !lines(draft.keys).every(isKey)) return msg('Give public keys, as in ~/.ssh/id_ed25519.pub, one a line.');
  if (draft.kind === 'own' && !BEGINNINGS.some((beginning) => draft.userData.startsWith(beginning))) {
    return msg('Begin it with #cloud-config, #! or what else cloud-init knows; it would be ignored.');
  }
  if (draft.kind === 'own' && parts.length > 0 && !kindOf(draft.userData)) return msg('Beside fragments, begin it with #cloud-config, a script’s #! or #cloud-boothook.');
  if (parts.length > MOST_FRAGMENTS) return msg('A VM gets 32 fragments at most.');
  if (draft.network && !/version"?:/.test(draft.network)) return msg('A network configuration says its version, 1 or 2.');
  return variableProblem(draft, parts);
}

/** What is replaced, and with what. */
export function values(draft: CloudDraft, name: string): Map<string, string> {
  return new Map<string, string>([...pairs(draft.variables), ['name', name], ['hostname', draft.hostname || name]]);
}

/** The VM's own part of the user data, as the guest will read it. */
export function preview(draft: CloudDraft, name: string): string {
  if (draft.kind === 'own') return filled(draft.userData, values(draft, name));
  const keys = lines(draft.keys);
  const config = { hostname: draft.hostname || name, preserve_hostname: false, ...(keys.length ? { ssh_authorized_keys: keys } : {}) };
  return `#cloud-config\n${JSON.stringify(config, null, 2)}\n`;
}
