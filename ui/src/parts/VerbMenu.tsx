// What can be done with one thing, behind three dots or a button: each verb, why not where it cannot be done, and each
// as a command to copy.
//
// The button has the focus before a dialog opens: when that closes, it gives the focus back to what had it, and an entry
// of the menu is gone by then.

import { Dropdown, DropdownItem, DropdownList, MenuItemAction, MenuToggle } from '@patternfly/react-core';
import CopyIcon from '@patternfly/react-icons/dist/esm/icons/copy-icon';
import EllipsisIcon from '@patternfly/react-icons/dist/esm/icons/ellipsis-v-icon';
import { useRef, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useActs, type Act, type Question } from './acts';

export interface Verb {
  /** Translated. */
  label: string;
  /** What it calls, where that is known without a form: it can be copied. */
  act?: Act;
  /** Asks this first. */
  question?: Omit<Question, keyof Act>;
  /** Something else than calling: opens a form. */
  go?: () => void;
  /** Why it cannot be done, marked with `msg`. */
  why?: string;
  danger?: boolean;
  /** Said under it, translated. */
  note?: string;
}

interface Props {
  /** Of the thing, for who does not see it. */
  name: string;
  verbs: Verb[];
  /** A labelled button rather than three dots. */
  labelled?: boolean;
}

export function VerbMenu({ name, verbs, labelled }: Props) {
  const { t } = useTranslation();
  const { run, ask, copy } = useActs();
  const [open, setOpen] = useState(false);
  const toggle = useRef<HTMLButtonElement>(null);
  const leave = () => {
    setOpen(false);
    toggle.current?.focus();
  };
  const go = ({ act, question, go }: Verb) => {
    leave();
    if (go) return go();
    if (!act) return;
    if (question) ask({ ...act, ...question });
    else void run(act);
  };
  return (
    <Dropdown
      isOpen={open}
      onOpenChange={setOpen}
      popperProps={{ position: 'right', appendTo: () => document.body }}
      isScrollable
      shouldFocusFirstItemOnOpen
      toggle={{
        toggleRef: toggle,
        toggleNode: (
          <MenuToggle
            ref={toggle}
            variant={labelled ? 'primary' : 'plain'}
            isExpanded={open}
            onClick={() => setOpen(!open)}
            aria-label={t('Actions for {{name}}', { name })}
            icon={labelled ? undefined : <EllipsisIcon />}
          >
            {labelled ? t('Actions') : undefined}
          </MenuToggle>
        ),
      }}
    >
      <DropdownList>
        {verbs.map((verb) => (
          <DropdownItem
            key={verb.label}
            isDanger={verb.danger}
            isAriaDisabled={!!verb.why}
            description={verb.why ? t(verb.why) : verb.note}
            actions={
              verb.act && (
                <MenuItemAction
                  icon={<CopyIcon />}
                  actionId={verb.label}
                  aria-label={t('Copy as a command: {{verb}}', { verb: verb.label })}
                  onClick={() => {
                    leave();
                    if (verb.act) copy(verb.act);
                  }}
                />
              )
            }
            onClick={verb.why ? undefined : () => go(verb)}
          >
            {verb.label}
          </DropdownItem>
        ))}
      </DropdownList>
    </Dropdown>
  );
}
