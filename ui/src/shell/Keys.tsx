// Quick hands: `/` and Ctrl-K open the palette, `g` and a letter or digit goes somewhere, `?` shows all keys.

import { DescriptionList, DescriptionListDescription, DescriptionListGroup, DescriptionListTerm, ModalBody, ModalHeader } from '@patternfly/react-core';
import { lazy, Suspense, useEffect, useRef, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import { Modal } from '../parts/Modal';
import { seesSecurity } from '../rules/may';
import { PLACES } from './nav';
import { useUser } from './user';

const load = () => import('./Palette');
const Palette = lazy(load);

const opened = new EventTarget();
export const openPalette = () => opened.dispatchEvent(new Event('palette'));
export const openKeys = () => opened.dispatchEvent(new Event('keys'));

function typing(target: EventTarget | null): boolean {
  const element = target as HTMLElement | null;
  return !!element?.closest?.('input, textarea, select, [contenteditable], .x-console');
}

export function Keys() {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const user = useUser();
  const [shown, setShown] = useState<'palette' | 'keys'>();
  const going = useRef(0);
  const secure = seesSecurity(user);

  useEffect(() => {
    const palette = () => setShown('palette');
    const keys = () => setShown('keys');
    // Before it is wanted: what is typed at once must not get lost.
    void load();
    opened.addEventListener('palette', palette);
    opened.addEventListener('keys', keys);
    const onKey = (event: KeyboardEvent) => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'k') {
        event.preventDefault();
        return setShown('palette');
      }
      const modal = document.querySelector('[aria-modal="true"]');
      if (typing(event.target) || modal || event.ctrlKey || event.metaKey || event.altKey) return;
      // Behind a `g` every letter is a place, also those that do something alone.
      const place = Date.now() - going.current < 1500 && PLACES.find(({ key, secure: only }) => key === event.key && (secure || !only));
      going.current = 0;
      if (place) {
        event.preventDefault();
        void navigate(place.path);
      } else if (event.key === '/') {
        event.preventDefault();
        setShown('palette');
      } else if (event.key === '?') {
        setShown('keys');
      } else if (event.key === 'f') {
        const bar = document.querySelector<HTMLInputElement>('input[data-search], .x-query input');
        if (bar) {
          event.preventDefault();
          bar.focus();
        }
      } else if (event.key === 'c') {
        // Else it is the first letter of the name in the form that opens.
        event.preventDefault();
        document.querySelector<HTMLElement>('[data-create]')?.click();
      } else if (event.key === 'g') {
        going.current = Date.now();
      }
    };
    document.addEventListener('keydown', onKey);
    return () => {
      opened.removeEventListener('palette', palette);
      opened.removeEventListener('keys', keys);
      document.removeEventListener('keydown', onKey);
    };
  }, [navigate, secure]);

  const close = () => setShown(undefined);
  if (shown === 'palette') {
    return (
      <Suspense fallback={null}>
        <Palette close={close} />
      </Suspense>
    );
  }
  if (shown !== 'keys') return null;
  const keys: [string[], string][] = [
    [['/'], t('Search everything')],
    [['Ctrl', 'K'], t('Commands')],
    [['f'], t('Filter the list')],
    [['c'], t('Create what the screen lists')],
    [['?'], t('Show these keys')],
    [['Esc'], t('Close what is open')],
    ...PLACES.filter((place) => secure || !place.secure).map(
      ({ key, label }): [string[], string] => [['g', key], t(label)],
    ),
  ];
  return (
    <Modal isOpen variant="medium" onClose={close} aria-labelledby="keys-title">
      <ModalHeader title={t('Keyboard shortcuts')} labelId="keys-title" />
      <ModalBody tabIndex={0} aria-labelledby="keys-title">
        <DescriptionList isHorizontal isCompact columnModifier={{ default: '1Col', md: '2Col' }}>
          {keys.map(([key, text]) => (
            <DescriptionListGroup key={text}>
              <DescriptionListTerm>
                {key.map((one) => (
                  <kbd key={one}>{one}</kbd>
                ))}
              </DescriptionListTerm>
              <DescriptionListDescription>{text}</DescriptionListDescription>
            </DescriptionListGroup>
          ))}
        </DescriptionList>
      </ModalBody>
    </Modal>
  );
}
