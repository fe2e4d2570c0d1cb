// The browser's Back closes a dialog, and stays on its page. An open dialog has an entry of the history for itself, over
// that of its page. A dialog that is closed by its button leaves it there: to go back from it takes a moment, in which
// whoever is quick would be somewhere else. It is passed over instead when somebody goes back from it, and the next dialog
// of the page takes it.
//
// Entries are known by their place, which the router counts in `history.state`. After a reload those that were left are
// no more known: Back then shows the same page once more.

import { useEffect, useRef } from 'react';
import { useLocation, useNavigate, useNavigationType } from 'react-router';
import { place } from './history';

/** The places of entries for dialogs, with the address that they were made for. */
const made = new Map<number, string>();
/** Those with an open dialog. */
const open = new Set<number>();

/** The place of the entry for one more dialog; nothing where nobody counts them. */
function enter(address: string, push: () => void): number | undefined {
  const now = place();
  if (now === undefined) return undefined;
  if (made.get(now) !== address || open.has(now)) push();
  const mine = place() ?? now;
  made.set(mine, address);
  open.add(mine);
  return mine;
}

/** In a dialog. */
export function BackCloses({ close }: { close(): void }) {
  const navigate = useNavigate();
  const location = useLocation();
  const address = location.pathname + location.search;
  const mine = useRef<number>(undefined);
  const last = useRef({ close, push: () => void navigate(address), address });
  useEffect(() => {
    last.current = { close, push: () => void navigate(address), address };
  });
  useEffect(() => {
    const entry = enter(last.current.address, last.current.push);
    mine.current = entry;
    return () => {
      if (entry !== undefined) open.delete(entry);
    };
  }, []);
  useEffect(() => {
    const now = place();
    if (mine.current !== undefined && now !== undefined && now < mine.current) last.current.close();
  }, [location]);
  return null;
}

/** Once, around all pages: passes over what closed dialogs have left. */
export function PassesOver() {
  const location = useLocation();
  const type = useNavigationType();
  const before = useRef(place());
  useEffect(() => {
    const [last, now] = [before.current, place()];
    before.current = now;
    if (last === undefined || now === undefined) return;
    if (type === 'PUSH') {
      const address = location.pathname + location.search;
      for (const [at, of] of made) if (at > now || (at === now && of !== address)) made.delete(at);
    }
    if (type === 'POP' && now === last - 1 && made.has(last) && !open.has(last)) history.back();
  }, [location, type]);
  return null;
}
