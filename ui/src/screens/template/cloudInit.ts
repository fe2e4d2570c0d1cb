// What a guest's cloud-init is told: orchestrator/src/app/cloud_init.rs, mirrored for the preview. The orchestrator
// decides.

import { msg } from '../../i18n/msg';
import type { CloudInit } from '../../api/generated';

const BEGINNINGS = ['#cloud-config', '#!', '#include', '#cloud-boothook', '#part-handler', '## template: jinja', 'Content-Type: multipart/mixed', 'MIME-Version:'];

export interface CloudDraft {
  kind: 'keys' | 'own' | 'none';
  hostname: string;
  /** One a line. */
  keys: string;
  userData: string;
  network: string;
}

export const NO_CLOUD: CloudDraft = { kind: 'keys', hostname: '', keys: '', userData: '#cloud-config\n', network: '' };

const lines = (text: string) => text.split('\n').map((line) => line.trim()).filter(Boolean);

export function cloudInit(draft: CloudDraft): CloudInit | undefined {
  if (draft.kind === 'none') return undefined;
  const keys = draft.kind === 'keys' ? lines(draft.keys) : [];
  return {
    ...(draft.hostname ? { hostname: draft.hostname } : {}),
    ...(keys.length ? { ssh_keys: keys } : {}),
    ...(draft.kind === 'own' ? { user_data: draft.userData } : {}),
    ...(draft.network ? { network_config: draft.network } : {}),
  };
}

const isKey = (key: string) => /^(ssh-|ecdsa-|sk-)\S*\s+\S+/.test(key);

/** Why it would be refused, marked with `msg`. */
export function cloudProblem(draft: CloudDraft): string | undefined {
  if (draft.kind === 'none') return undefined;
  if (/\s/.test(draft.hostname)) return msg('A host name has no spaces.');
  if (draft.kind === 'keys' && !lines(draft.keys).every(isKey)) return msg('Give public keys, as in ~/.ssh/id_ed25519.pub, one a line.');
  if (draft.kind === 'own' && !BEGINNINGS.some((beginning) => draft.userData.startsWith(beginning))) {
    return msg('Begin it with #cloud-config, #! or what else cloud-init knows; it would be ignored.');
  }
  if (draft.network && !/version"?:/.test(draft.network)) return msg('A network configuration says its version, 1 or 2.');
  return undefined;
}

/** The file `user-data` as the guest will read it. */
export function preview(draft: CloudDraft, name: string): string {
  const hostname = draft.hostname || name;
  if (draft.kind === 'own') return draft.userData.replaceAll('${name}', name).replaceAll('${hostname}', hostname);
  const keys = lines(draft.keys);
  const config = { hostname, preserve_hostname: false, ...(keys.length ? { ssh_authorized_keys: keys } : {}) };
  return `#cloud-config\n${JSON.stringify(config, null, 2)}\n`;
}
