// What the form of a standby gathers, and the call that it becomes.

import type { CreateStandby } from '../../api/generated';
import { VM_NAME } from '../../parts/fields';
import { flag, record, text, type Kept } from '../../parts/kept';
import { mapped, type NetworkChoices } from '../../parts/networks';

export interface StandbyDraft {
  /** As it is typed: a name, or an id from the address. */
  vm: string;
  host: string;
  sr: string;
  repository: string;
  name: string;
  networks: NetworkChoices;
  keepMacs: boolean;
}

export const EMPTY_STANDBY: StandbyDraft = { vm: '', host: '', sr: '', repository: '', name: '', networks: {}, keepMacs: false };

/** All of it can stand in the address. */
export const KEPT_OF_STANDBY: Kept<StandbyDraft> = { vm: text, host: text, sr: text, repository: text, name: text, networks: record, keepMacs: flag };

export function createStandby(vm: string, draft: StandbyDraft): CreateStandby {
  return {
    vm,
    host: draft.host,
    repository: draft.repository,
    ...(draft.sr ? { sr: draft.sr } : {}),
    ...(draft.name ? { name: draft.name } : {}),
    ...mapped(draft.networks),
    ...(draft.keepMacs ? { keep_macs: true } : {}),
  };
}

export const standbyReady = (vm: string | undefined, draft: StandbyDraft): boolean => !!vm && draft.host !== '' && draft.repository !== '' && (draft.name === '' || VM_NAME.test(draft.name));
