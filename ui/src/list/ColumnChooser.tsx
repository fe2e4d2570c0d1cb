// Which columns a table shows. The choice stands in the URL.

import { MenuToggle, Select, SelectList, SelectOption } from '@patternfly/react-core';
import ColumnsIcon from '@patternfly/react-icons/dist/esm/icons/columns-icon';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { Column } from './columns';

interface Props<R> {
  columns: Column<R>[];
  shown: Column<R>[];
  choose(keys: string | null): void;
}

export function ColumnChooser<R>({ columns, shown, choose }: Props<R>) {
  const { t } = useTranslation();
  const [open, setOpen] = useState(false);
  const toggle = (key: string) => {
    const on = new Set(shown.map((column) => column.key));
    if (on.has(key)) on.delete(key);
    else on.add(key);
    const keys = columns.filter((column) => on.has(column.key)).map((column) => column.key);
    const usual = columns.filter((column) => !column.optional).map((column) => column.key);
    if (keys.length > 0) choose(keys.join() === usual.join() ? null : keys.join(','));
  };
  return (
    <Select
      role="menu"
      isOpen={open}
      onOpenChange={setOpen}
      onSelect={(_event, key) => toggle(String(key))}
      selected={shown.map((column) => column.key)}
      popperProps={{ position: 'right' }}
      toggle={(ref) => (
        <MenuToggle ref={ref} variant="plain" aria-label={t('Columns')} isExpanded={open} icon={<ColumnsIcon />} onClick={() => setOpen(!open)} />
      )}
    >
      <SelectList>
        {columns.map(({ key, header }) => (
          <SelectOption key={key} hasCheckbox value={key} isSelected={shown.some((column) => column.key === key)}>
            {t(header)}
          </SelectOption>
        ))}
      </SelectList>
    </Select>
  );
}
