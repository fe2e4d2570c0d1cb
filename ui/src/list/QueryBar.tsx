// The API's filter language, with what could be typed next.

import { Button, Popper, SearchInput } from '@patternfly/react-core';
import { useEffect, useId, useRef, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useSocket } from '../api/client';
import type { Completion } from '../api/generated';

interface Props {
  value: string;
  set(value: string): void;
  placeholder: string;
  label: string;
  /** Asks the API what could come next; without it and `noun`, plain words. */
  complete?: 'vm.complete';
  /** The same for the list of another noun. */
  noun?: string;
}

const bytes = new TextEncoder();
const text = new TextDecoder();

/** Replaces the end of `typed` from a byte on. */
export function accept(typed: string, from: number, candidate: string): string {
  const before = text.decode(bytes.encode(typed).slice(0, from));
  const open = candidate.endsWith(':') || candidate.endsWith('(');
  return `${before}${candidate}${open ? '' : ' '}`;
}

export function QueryBar({ value, set, placeholder, label, complete, noun }: Props) {
  const { t } = useTranslation();
  const socket = useSocket();
  const [typed, setTyped] = useState(value);
  const [found, setFound] = useState<Completion>();
  const [at, setAt] = useState(-1);
  const input = useRef<HTMLInputElement>(null);
  const box = useRef<HTMLDivElement>(null);
  const listId = useId();
  const [focused, setFocused] = useState(false);
  const completes = !!(complete ?? noun);

  useEffect(() => setTyped(value), [value]);

  // The list follows the typing a moment later; Enter does it at once.
  useEffect(() => {
    if (typed === value) return;
    const later = setTimeout(() => set(typed.trim()), 300);
    return () => clearTimeout(later);
  }, [typed, value, set]);

  useEffect(() => {
    if (!completes || !focused) return setFound(undefined);
    let current = true;
    const later = setTimeout(() => {
      const asked = noun ? socket.call('filter.complete', { noun, text: typed }) : socket.call('vm.complete', { text: typed });
      asked.then(
        (answer) => current && (setFound(answer), setAt(-1)),
        () => undefined,
      );
    }, 80);
    return () => {
      current = false;
      clearTimeout(later);
    };
  }, [completes, noun, focused, typed, socket]);

  const candidates = found?.candidates.slice(0, 12) ?? [];
  const open = focused && candidates.length > 0;
  const take = (index: number) => {
    const candidate = candidates[index];
    if (!candidate || !found) return;
    setTyped(accept(typed, found.from, candidate.text));
    input.current?.focus();
  };
  const onKeyDown = (event: React.KeyboardEvent) => {
    if (event.key === 'Escape') {
      if (open) event.stopPropagation();
      return setFound(undefined);
    }
    if (event.key === 'Enter' && at < 0) {
      setFound(undefined);
      return set(typed.trim());
    }
    if (!open) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      setAt((at + step + candidates.length + 1) % (candidates.length + 1) || (step > 0 ? 0 : candidates.length - 1));
    } else if ((event.key === 'Enter' || event.key === 'Tab') && at >= 0) {
      event.preventDefault();
      take(at);
    }
  };

  // On the field itself: who cannot see is told what is chosen only where the keys go.
  const combobox = {
    role: 'combobox',
    'aria-autocomplete': 'list',
    'aria-expanded': open,
    'aria-controls': open ? listId : undefined,
    'aria-activedescendant': open && at >= 0 ? `${listId}-${at}` : undefined,
  };
  const search = (
    <div ref={box} className="x-query">
      <SearchInput
        ref={input}
        aria-label={label}
        placeholder={placeholder}
        value={typed}
        onChange={(_event, next) => setTyped(next)}
        onClear={() => (setTyped(''), set(''))}
        resetButtonLabel={t('Clear the filter')}
        onKeyDown={onKeyDown}
        onFocus={() => setFocused(true)}
        onBlur={(event) => {
          if (!(event.relatedTarget as Element | null)?.closest('.x-completions')) setFocused(false);
        }}
        searchInputId={`${listId}-input`}
        inputProps={{ 'data-search': true, autoComplete: 'off', spellCheck: false, ...(completes ? combobox : {}) }}
      />
    </div>
  );
  if (!completes) return search;
  return (
    <Popper
      trigger={search}
      triggerRef={box}
      isVisible={open}
      minWidth="trigger"
      enableFlip={false}
      appendTo={() => document.body}
      popper={
        <div className="x-completions" role="listbox" id={listId} aria-label={t('What could be typed next')}>
          {candidates.map(({ text, hint }, index) => (
            <Button
              key={text}
              id={`${listId}-${index}`}
              role="option"
              aria-selected={index === at}
              variant="plain"
              tabIndex={-1}
              isClicked={index === at}
              className="x-completion"
              onClick={() => take(index)}
            >
              <code>{text}</code> <span className="x-dim">{hint}</span>
            </Button>
          ))}
        </div>
      }
    />
  );
}
