// Rows that are chosen, and what can be done with all of them: what the menu of one row calls without a form, for each
// of them. Whoever writes a verb of a row has written it for many.

import { Dropdown, DropdownItem, DropdownList, MenuToggle } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { msg } from '../i18n/msg';
import type { Verb } from '../parts/VerbMenu';
import { Bulk } from './Bulk';
import type { Selection } from './VirtualTable';

interface Of<R> {
  /** As they are now: a row that was chosen may have changed meanwhile. */
  rows: R[];
  id(row: R): string;
  name(row: R): string;
  verbs(row: R): Verb[];
  /** What asks for something first: a dialog of its own, which ends with `close`. */
  forms?: { label: string; dialog(rows: R[], close: () => void): React.ReactNode }[];
}

interface Made<R> {
  /** For the `ListView`. */
  list: { selection: Selection<R>; bulk: React.ReactNode };
  /** To be put beside it. */
  dialog: React.ReactNode;
}

/** Of a verb that this row does not have. */
const NOT_NOW = msg('As it is, this does not apply to it.');

export function useBulk<R>({ rows, id, name, verbs, forms = [] }: Of<R>): Made<R> {
  const { t } = useTranslation();
  const [chosen, set] = useState(new Map<string, R>());
  const [open, setOpen] = useState(false);
  const [label, setLabel] = useState<string>();
  // Of thousands that are chosen the verbs are only worked out to be shown.
  const needed = open || label !== undefined;
  const fresh = needed ? new Map(rows.map((row) => [id(row), row])) : undefined;
  const all = [...(needed ? chosen : [])].map(([key, before]) => {
    const row = fresh?.get(key) ?? before;
    return { key, row, name: name(row), verbs: verbs(row).filter(({ act }) => act) };
  });
  const of = (wanted: string) => all.map(({ verbs, ...one }) => ({ ...one, verb: verbs.find((verb) => verb.label === wanted) }));
  // In the order of the first row that has it, and what loses something last.
  const offers = [...new Map(all.flatMap((one) => one.verbs).map((verb) => [verb.label, verb])).values()].sort((a, b) => Number(!!a.danger) - Number(!!b.danger));
  const close = () => {
    setLabel(undefined);
    set(new Map());
  };
  const dialog = (wanted: string) => {
    const form = forms.find((one) => one.label === wanted);
    if (form) return form.dialog(all.map(({ row }) => row), close);
    const found = of(wanted);
    const danger = found.some(({ verb }) => verb?.danger);
    const texts = new Set(found.flatMap(({ verb }) => verb?.question?.text ?? []));
    // What is said of one by its name is not said of all.
    const text = texts.size === 1 ? [...texts][0] : danger ? t('This cannot be taken back.') : undefined;
    const items = found.map(({ key, name, verb }) => ({ id: key, name, act: verb?.act, cannot: verb ? verb.why : NOT_NOW }));
    return <Bulk title={t('{{verb}}: {{count}} selected', { verb: wanted, count: items.length })} text={text} button={wanted} danger={danger} items={items} close={close} />;
  };
  const able = (wanted: string) => of(wanted).filter(({ verb }) => verb && !verb.why).length;
  return {
    list: { selection: { chosen, set }, bulk: <BulkMenu open={open} setOpen={setOpen} offers={offers} forms={forms.map(({ label }) => label)} able={able} all={all.length} choose={setLabel} /> },
    dialog: label === undefined ? null : dialog(label),
  };
}

interface MenuProps {
  open: boolean;
  setOpen(open: boolean): void;
  offers: Verb[];
  forms: string[];
  able(label: string): number;
  all: number;
  choose(label: string): void;
}

function BulkMenu({ open, setOpen, offers, forms, able, all, choose }: MenuProps) {
  const { t } = useTranslation();
  return (
    <Dropdown
      isOpen={open}
      onOpenChange={setOpen}
      shouldFocusToggleOnSelect
      onSelect={() => setOpen(false)}
      popperProps={{ appendTo: () => document.body }}
      isScrollable
      toggle={(ref) => (
        <MenuToggle ref={ref} isExpanded={open} onClick={() => setOpen(!open)}>
          {t('With the selected')}
        </MenuToggle>
      )}
    >
      <DropdownList>
        {forms.map((label) => (
          <DropdownItem key={label} onClick={() => choose(label)}>
            {label} …
          </DropdownItem>
        ))}
        {offers.map(({ label, danger }) => (
          <DropdownItem key={label} isDanger={danger} description={able(label) < all ? t('{{done}} of {{total}}', { done: able(label), total: all }) : undefined} onClick={() => choose(label)}>
            {label}
          </DropdownItem>
        ))}
      </DropdownList>
    </Dropdown>
  );
}
