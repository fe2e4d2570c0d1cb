// Named views of a list: what stands in the address, under a name. They are kept in this browser; the address itself
// is what others are given.

import { Button, Divider, Dropdown, DropdownItem, DropdownList, Form, MenuItemAction, MenuToggle, ModalBody, ModalFooter, ModalHeader } from '@patternfly/react-core';
import BookmarkIcon from '@patternfly/react-icons/dist/esm/icons/outlined-bookmark-icon';
import TimesIcon from '@patternfly/react-icons/dist/esm/icons/times-icon';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useNavigate, useSearchParams } from 'react-router';
import { TextField } from '../parts/fields';
import { Modal } from '../parts/Modal';
import { WaitsFor } from '../parts/WaitsFor';

export interface View {
  name: string;
  search: string;
}

/** What of an address is a view of a list. */
const PARTS = ['q', 'sort', 'cols'];

export function viewOf(params: URLSearchParams): string {
  const kept = new URLSearchParams();
  PARTS.forEach((part) => {
    const value = params.get(part);
    if (value) kept.set(part, value);
  });
  return kept.toString();
}

/** The address with another view in it. What is no part of a view stays, such as the tab that the list is on. */
export function withSearch(params: URLSearchParams, view: string): string {
  const after = new URLSearchParams(params);
  PARTS.forEach((part) => after.delete(part));
  new URLSearchParams(view).forEach((value, part) => after.set(part, value));
  return after.toString();
}

const key = (noun: string) => `xenith.views.${noun}`;

export function readViews(noun: string): View[] {
  try {
    const stored: unknown = JSON.parse(localStorage.getItem(key(noun)) ?? '[]');
    return Array.isArray(stored) ? stored.filter((one): one is View => typeof one?.name === 'string' && typeof one?.search === 'string') : [];
  } catch {
    return [];
  }
}

/** One of the same name is replaced. */
export function withView(views: View[], view: View): View[] {
  return [...views.filter(({ name }) => name !== view.name), view].sort((a, b) => a.name.localeCompare(b.name));
}

export function Views({ noun }: { noun: string }) {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const [params] = useSearchParams();
  const [open, setOpen] = useState(false);
  const [naming, setNaming] = useState(false);
  const [views, setViews] = useState(() => readViews(noun));
  const now = viewOf(params);
  const store = (views: View[]) => {
    localStorage.setItem(key(noun), JSON.stringify(views));
    setViews(views);
  };
  const shown = views.find(({ search }) => search === now && search !== '');
  return (
    <>
      <Dropdown
        isOpen={open}
        onOpenChange={setOpen}
        shouldFocusToggleOnSelect
        popperProps={{ position: 'right' }}
        toggle={(ref) => (
          <MenuToggle ref={ref} variant="plainText" icon={<BookmarkIcon />} isExpanded={open} onClick={() => setOpen(!open)} aria-label={shown ? t('View: {{name}}', { name: shown.name }) : t('Views')}>
            {shown?.name ?? t('Views')}
          </MenuToggle>
        )}
      >
        <DropdownList>
          <DropdownItem isSelected={now === ''} onClick={() => (setOpen(false), void navigate({ search: withSearch(params, '') }))}>
            {t('Everything')}
          </DropdownItem>
          {views.map((view) => (
            <DropdownItem
              key={view.name}
              isSelected={view === shown}
              description={new URLSearchParams(view.search).get('q') ?? undefined}
              actions={<MenuItemAction icon={<TimesIcon />} actionId={view.name} aria-label={t('Forget the view {{name}}', { name: view.name })} onClick={() => store(views.filter((one) => one !== view))} />}
              onClick={() => (setOpen(false), void navigate({ search: withSearch(params, view.search) }))}
            >
              {view.name}
            </DropdownItem>
          ))}
          <Divider component="li" />
          <DropdownItem
            isAriaDisabled={now === ''}
            description={now === '' ? t('Filter, sort or choose columns first.') : t('Kept in this browser. To share it, give its address.')}
            onClick={() => (setOpen(false), setNaming(true))}
          >
            {t('Save this view …')}
          </DropdownItem>
        </DropdownList>
      </Dropdown>
      {naming && <Naming close={() => setNaming(false)} save={(name) => store(withView(views, { name, search: now }))} taken={views.map(({ name }) => name)} />}
    </>
  );
}

function Naming({ close, save, taken }: { close(): void; save(name: string): void; taken: string[] }) {
  const { t } = useTranslation();
  const [name, setName] = useState('');
  const submit = (event: React.FormEvent) => {
    event.preventDefault();
    if (!name.trim()) return;
    save(name.trim());
    close();
  };
  return (
    <Modal isOpen variant="small" onClose={close} aria-labelledby="view-title">
      <ModalHeader title={t('Save this view')} labelId="view-title" />
      <ModalBody>
        <Form id="view-form" onSubmit={submit}>
          <TextField id="view-name" label={t('Name')} value={name} set={setName} required autoFocus help={taken.includes(name.trim()) ? t('It replaces the one of this name.') : undefined} />
        </Form>
      </ModalBody>
      <ModalFooter>
        <Button type="submit" form="view-form" isDisabled={!name.trim()}>
          {t('Save')}
        </Button>
        <Button variant="link" onClick={close}>
          {t('Cancel')}
        </Button>
        <WaitsFor form="view-form" ready={!!name.trim()} />
      </ModalFooter>
    </Modal>
  );
}
