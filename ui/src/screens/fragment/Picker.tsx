// Fragments in the order in which they count: added at the end, moved, taken out.

import { Button, FormGroup, FormSelect, FormSelectOption, List, ListItem, OrderType } from '@patternfly/react-core';
import DownIcon from '@patternfly/react-icons/dist/esm/icons/angle-down-icon';
import UpIcon from '@patternfly/react-icons/dist/esm/icons/angle-up-icon';
import OutIcon from '@patternfly/react-icons/dist/esm/icons/times-icon';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { Fragment } from '../../api/generated';
import { Help } from '../../parts/fields';
import { useFragments } from './parts';
import { KIND } from './kind';

interface Props {
  id: string;
  label: string;
  /** Ids, in the order in which they count. */
  value: string[];
  set(value: string[]): void;
  /** Those that can be chosen; which of them are chosen already is seen to here. */
  options: Fragment[];
  help?: string;
}

/** The same with the one at `at` and the one behind it in each other's place. */
export function swapped<T>(list: T[], at: number): T[] {
  return list.map((one, index) => (index === at ? (list[at + 1] ?? one) : index === at + 1 ? (list[at] ?? one) : one));
}

export function FragmentPicker({ id, label, value, set, options, help }: Props) {
  const { t } = useTranslation();
  const { name } = useFragments();
  const [chosen, choose] = useState('');
  const left = options.filter((option) => !value.includes(option.id));
  const next = left.some((option) => option.id === chosen) ? chosen : '';
  const adder = `${id}-add`;
  const add = () => {
    if (!next) return;
    set([...value, next]);
    choose('');
    // The button has nothing to add now.
    document.getElementById(adder)?.focus();
  };
  const take = (one: string) => {
    set(value.filter((other) => other !== one));
    // What had the focus is gone.
    document.getElementById(adder)?.focus();
  };
  return (
    <FormGroup label={label} role="group" fieldId={id}>
      {value.length > 0 && (
        <List component="ol" type={OrderType.number} aria-label={label}>
          {value.map((one, at) => (
            <ListItem key={one}>
              <span className="x-picked">
                <span>{name(one)}</span>
                <Button variant="plain" size="sm" icon={<UpIcon />} aria-label={t('Move {{name}} up', { name: name(one) })} isAriaDisabled={at === 0} onClick={() => at > 0 && set(swapped(value, at - 1))} />
                <Button variant="plain" size="sm" icon={<DownIcon />} aria-label={t('Move {{name}} down', { name: name(one) })} isAriaDisabled={at === value.length - 1} onClick={() => set(swapped(value, at))} />
                <Button variant="plain" size="sm" icon={<OutIcon />} aria-label={t('Take {{name}} out', { name: name(one) })} onClick={() => take(one)} />
              </span>
            </ListItem>
          ))}
        </List>
      )}
      <div className="x-picked">
        <FormSelect id={adder} aria-label={t('Fragment to add')} value={next} onChange={(_event, value) => choose(value)}>
          <FormSelectOption value="" label={left.length > 0 ? t('Choose a fragment') : t('No other fragment in this pool')} />
          {left.map((option) => (
            <FormSelectOption key={option.id} value={option.id} label={`${option.name} (${t(KIND[option.kind].label)})`} />
          ))}
        </FormSelect>
        <Button variant="secondary" isAriaDisabled={!next} onClick={add}>
          {t('Add')}
        </Button>
      </div>
      {help && <Help>{help}</Help>}
    </FormGroup>
  );
}
