// The palette: type a place, an object, or a verb and a VM.

import { ModalBody, SearchInput } from '@patternfly/react-core';
import { useEffect, useMemo, useRef, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import { useSocket } from '../api/client';
import { Modal } from '../parts/Modal';
import { useVmVerb } from '../screens/vm/VmMenu';
import { places, search, verbOf, type Offer } from './palette';
import { useUser } from './user';

export default function Palette({ close }: { close: () => void }) {
  const { t } = useTranslation();
  const user = useUser();
  const socket = useSocket();
  const navigate = useNavigate();
  const act = useVmVerb();
  const [typed, setTyped] = useState('');
  const [found, setFound] = useState<Offer[]>([]);
  const [at, setAt] = useState(0);
  const list = useRef<HTMLUListElement>(null);

  useEffect(() => {
    if (!typed.trim()) return setFound([]);
    let current = true;
    const later = setTimeout(() => {
      search(socket, typed, user, t).then(
        (offers) => current && setFound(offers),
        () => undefined,
      );
    }, 80);
    return () => {
      current = false;
      clearTimeout(later);
    };
  }, [typed, socket, user, t]);

  const offers = useMemo(() => {
    const verb = verbOf(typed, t);
    return verb ? found : [...found, ...places(typed.trim(), user, t)];
  }, [found, typed, user, t]);
  useEffect(() => setAt(0), [typed]);
  useEffect(() => {
    list.current?.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: 'nearest' });
  }, [at]);

  const take = (offer: Offer | undefined) => {
    if (!offer || offer.cannot) return;
    if (!offer.go && !offer.verb) return setTyped(`${offer.label.replace(/ …$/, '')} `);
    close();
    if (offer.go) return void navigate(offer.go);
    if (offer.verb) act(offer.verb.vm, offer.verb.info);
  };
  const onKeyDown = (event: React.KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && offers.length > 0) {
      event.preventDefault();
      setAt((at + step + offers.length) % offers.length);
    } else if (event.key === 'Enter') {
      event.preventDefault();
      take(offers[at]);
    }
  };

  return (
    <Modal isOpen variant="small" position="top" onClose={close} aria-label={t('Search and commands')} className="x-palette">
      <ModalBody>
        <SearchInput
          aria-label={t('Search and commands')}
          placeholder={t('A name, a place, or a verb and a VM: start web-1')}
          value={typed}
          autoFocus
          onChange={(_event, value) => setTyped(value)}
          onClear={() => setTyped('')}
          resetButtonLabel={t('Clear the filter')}
          onKeyDown={onKeyDown}
          inputProps={{ autoComplete: 'off', role: 'combobox', 'aria-autocomplete': 'list', 'aria-expanded': true, 'aria-controls': 'palette-list', 'aria-activedescendant': offers.length > 0 ? `palette-${at}` : undefined }}
        />
        <ul id="palette-list" ref={list} role="listbox" aria-label={t('Results')} className="x-offers">
          {offers.map((offer, index) => (
            <li
              key={offer.key}
              id={`palette-${index}`}
              role="option"
              aria-selected={index === at}
              aria-disabled={!!offer.cannot}
              className="x-offer"
              onMouseMove={() => setAt(index)}
              onClick={() => take(offer)}
            >
              <span className="x-offer-group">{index === 0 || offers[index - 1]?.group !== offer.group ? offer.group : ''}</span>
              <span className="x-offer-label">{offer.label}</span>
              <span className="x-dim">{offer.cannot ? t(offer.cannot) : offer.hint}</span>
            </li>
          ))}
          {offers.length === 0 && (
            <li role="option" aria-selected={false} aria-disabled className="x-offer x-dim">
              {t('Nothing matches')}
            </li>
          )}
        </ul>
      </ModalBody>
    </Modal>
  );
}
