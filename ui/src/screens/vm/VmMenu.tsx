// What can be done with one VM: each verb, why not where it cannot be done, and each as a command to copy.

import { Dropdown, DropdownItem, DropdownList, MenuItemAction, MenuToggle } from '@patternfly/react-core';
import CopyIcon from '@patternfly/react-icons/dist/esm/icons/copy-icon';
import EllipsisIcon from '@patternfly/react-icons/dist/esm/icons/ellipsis-v-icon';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { VmRow } from '../../api/generated';
import { useActs } from '../../parts/acts';
import type { Place } from '../../rules/may';
import { VM_VERBS, verbParams, vmCannot, type VerbInfo } from '../../rules/vm';
import { useUser } from '../../shell/user';

type Subject = Pick<VmRow, 'id' | 'name' | 'power' | 'managed'>;

export function useVmVerb() {
  const { t } = useTranslation();
  const { run, ask } = useActs();
  return (vm: Subject, verb: VerbInfo, done?: () => void) => {
    const act = {
      method: verb.method,
      params: verbParams(verb.method, vm),
      title: t('{{verb}}: {{name}}', { verb: t(verb.label), name: vm.name }),
    };
    if (verb.method === 'vm.delete') {
      return ask({
        ...act,
        text: t('{{name}} and its disks are deleted. Backups stay. This cannot be taken back.', { name: vm.name }),
        button: t('Delete'),
        typeName: vm.name,
        choices: [{ field: 'keep_disks', label: t('Keep its disks') }],
        done,
      });
    }
    if (verb.method === 'vm.power_off') {
      return ask({
        ...act,
        text: t('{{name}} ends at once, like pulling its plug: what its guest has not written is lost.', { name: vm.name }),
        button: t('Power off'),
      });
    }
    void run(act);
  };
}

interface Props {
  vm: Subject;
  place?: Place;
  /** A labelled button rather than three dots. */
  labelled?: boolean;
  deleted?: () => void;
  more?: React.ReactNode;
}

export function VmMenu({ vm, place, labelled, deleted, more }: Props) {
  const { t } = useTranslation();
  const user = useUser();
  const { copy } = useActs();
  const act = useVmVerb();
  const [open, setOpen] = useState(false);
  return (
    <Dropdown
      isOpen={open}
      onOpenChange={setOpen}
      popperProps={{ position: 'right', appendTo: () => document.body }}
      isScrollable
      toggle={(ref) => (
        <MenuToggle
          ref={ref}
          variant={labelled ? 'primary' : 'plain'}
          isExpanded={open}
          onClick={() => setOpen(!open)}
          aria-label={t('Actions for {{name}}', { name: vm.name })}
          icon={labelled ? undefined : <EllipsisIcon />}
        >
          {labelled ? t('Actions') : undefined}
        </MenuToggle>
      )}
    >
      <DropdownList>
        {more}
        {VM_VERBS.map((verb) => {
          const why = vmCannot(user, verb.method, vm, place);
          return (
            <DropdownItem
              key={verb.method}
              isDanger={verb.danger}
              isAriaDisabled={!!why}
              description={why && t(why)}
              actions={
                <MenuItemAction
                  icon={<CopyIcon />}
                  actionId={verb.method}
                  aria-label={t('Copy as a command: {{verb}}', { verb: t(verb.label) })}
                  onClick={() => {
                    setOpen(false);
                    copy({
                      method: verb.method,
                      params: verbParams(verb.method, vm),
                      title: t('{{verb}}: {{name}}', { verb: t(verb.label), name: vm.name }),
                    });
                  }}
                />
              }
              onClick={() => {
                setOpen(false);
                act(vm, verb, verb.method === 'vm.delete' ? deleted : undefined);
              }}
            >
              {t(verb.label)}
            </DropdownItem>
          );
        })}
      </DropdownList>
    </Dropdown>
  );
}
