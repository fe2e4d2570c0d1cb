import { Dropdown, DropdownItem, DropdownList, MenuToggle } from '@patternfly/react-core';
import GlobeIcon from '@patternfly/react-icons/dist/esm/icons/globe-icon';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { choose, LANGUAGES } from '../i18n';

export function LanguageMenu() {
  const { t, i18n } = useTranslation();
  const [open, setOpen] = useState(false);
  const name = LANGUAGES[i18n.language as keyof typeof LANGUAGES] ?? i18n.language;
  return (
    <Dropdown
      isOpen={open}
      onOpenChange={setOpen}
      onSelect={() => setOpen(false)}
      toggle={(ref) => (
        <MenuToggle ref={ref} variant="plainText" icon={<GlobeIcon />} isExpanded={open} onClick={() => setOpen(!open)} aria-label={t('Language: {{name}}', { name })}>
          {name}
        </MenuToggle>
      )}
    >
      <DropdownList>
        {Object.entries(LANGUAGES).map(([code, name]) => (
          <DropdownItem key={code} lang={code} onClick={() => void choose(code)} isSelected={i18n.language === code}>
            {name}
          </DropdownItem>
        ))}
      </DropdownList>
    </Dropdown>
  );
}
