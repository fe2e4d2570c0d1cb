// What is typed into a form or wizard, kept in its address: a reload goes on where one was, the browser's Back goes one
// step back, and a link shows somebody else the same half-filled form.
//
// What is typed is the page's own, and the address follows: with each key it would be late, and browsers stop those who
// write it too often. The address is read once, when the form comes. Back takes the step from it and leaves the fields as
// they are: they were typed later.

import { useEffect, useState } from 'react';
import { useLocation, useNavigate } from 'react-router';
import { left } from './history';
import { fieldsIn, stepIn, withForm, type Kept } from './kept';

/** Between two keys. Safari takes a hundred changes of the address in half a minute. */
const SETTLED_MS = 400;

export interface Drafted<D> {
  draft: D;
  set(part: Partial<D>): void;
  /** What the address said when the form came. */
  asked: Partial<D>;
  /** As the address has it; nothing for the first one. */
  step: string;
  /** To another step, from which the browser's Back comes here. */
  go(step: string): void;
  /** To the step that is there in place of one that is not. */
  settle(step: string): void;
}

/**
 * `empty` is the form as it comes, `kept` the fields that stand in the address: never secrets. What is `done` stands there no
 * more: a reload would offer to do it again.
 */
export function useDraft<D extends object>(empty: D, kept: Kept<D>, { done = false } = {}): Drafted<D> {
  const { pathname, search } = useLocation();
  const navigate = useNavigate();
  const [asked] = useState(() => fieldsIn(search, kept));
  const [draft, setDraft] = useState<D>(() => ({ ...empty, ...asked }));
  const [step, settle] = useState(() => stepIn(search));
  const [seen, see] = useState(search);
  if (seen !== search) {
    see(search);
    settle(stepIn(search));
  }
  const addressAt = (step: string) => withForm(search, step, done ? empty : draft, empty, kept);
  const wanted = addressAt(step);
  const there = new URLSearchParams(search).toString();
  useEffect(() => {
    if (wanted === there) return;
    // Who has gone elsewhere meanwhile is not taken back.
    const timer = setTimeout(() => left(pathname + search) || void navigate({ search: wanted }, { replace: true }), SETTLED_MS);
    return () => clearTimeout(timer);
  }, [wanted, there, pathname, search, navigate]);
  const go = (next: string) => {
    // What was typed last belongs to the step that is left.
    void navigate({ search: wanted }, { replace: true });
    void navigate({ search: addressAt(next) });
    settle(next);
  };
  return { draft, set: (part) => setDraft((before) => ({ ...before, ...part })), asked, step, go, settle };
}
