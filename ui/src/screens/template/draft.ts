// What the form of a deployment gathers, and the call that it becomes.

import type { DeployTemplate, Template } from '../../api/generated';
import { VM_NAME, words } from '../../parts/fields';
import { count, flag, list, oneOf, part, text, type Kept } from '../../parts/kept';
import type { Part } from '../fragment/parts';
import { cloudInit, cloudProblem, NO_CLOUD, type CloudDraft } from './cloudInit';

const GIB = 1024 ** 3;

export interface DeployDraft {
  name: string;
  description: string;
  tags: string;
  vcpus: number;
  memory: number;
  gib: number;
  nics: string[];
  start: boolean;
  cloud: CloudDraft;
}

export const diskGib = (template: Template): number => Math.ceil((template.disks[0]?.size ?? 0) / GIB);

export function emptyDeploy(template: Template): DeployDraft {
  return {
    name: '',
    description: '',
    tags: '',
    vcpus: template.vcpus.online,
    memory: template.memory.target,
    gib: diskGib(template),
    nics: [],
    start: true,
    cloud: NO_CLOUD,
  };
}

/** Keys, user-data, network configuration and variables stand in no address: people write secrets into them. */
export const KEPT_OF_DEPLOY: Kept<DeployDraft> = {
  name: text,
  vcpus: count,
  memory: count,
  gib: count,
  nics: list,
  tags: text,
  description: text,
  start: flag,
  cloud: part<CloudDraft>(NO_CLOUD, { kind: oneOf('keys', 'own', 'none'), hostname: text, fragments: list }),
};

/** Something is typed that a reload would lose. */
export const losesText = ({ cloud }: DeployDraft): boolean => (['keys', 'userData', 'network', 'variables'] as const).some((field) => cloud[field] !== NO_CLOUD[field]);

/** Only what differs from the template. */
export function deployParams(template: Template, draft: DeployDraft): DeployTemplate {
  const tags = words(draft.tags);
  const cloud = cloudInit(draft.cloud);
  return {
    template: template.id,
    name: draft.name,
    ...(draft.description ? { description: draft.description } : {}),
    ...(tags.length ? { tags } : {}),
    ...(draft.vcpus !== template.vcpus.online ? { vcpus: { online: draft.vcpus, max: Math.max(draft.vcpus, template.vcpus.max) } } : {}),
    ...(draft.memory !== template.memory.target ? { memory: { target: draft.memory, max: Math.max(draft.memory, template.memory.max) } } : {}),
    ...(draft.gib > diskGib(template) ? { disk_size: draft.gib * GIB } : {}),
    ...(draft.nics.length ? { nics: draft.nics.map((network) => ({ network })) } : {}),
    ...(cloud ? { cloud_init: cloud } : {}),
    ...(draft.start ? { start: true } : {}),
  };
}

/** The fragments that count, in their order; none where cloud-init is told nothing. */
export const fragmentsOf = (template: Template, { cloud }: DeployDraft): string[] => (cloud.kind === 'none' ? [] : [...(template.fragments ?? []), ...cloud.fragments]);

export const deployReady = (draft: DeployDraft, parts: Part[] = []): boolean => VM_NAME.test(draft.name) && draft.vcpus >= 1 && draft.memory >= 1 && !cloudProblem(draft.cloud, parts);
