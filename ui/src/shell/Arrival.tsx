// Who hears the page is told where they have come: the browser itself says nothing, because it loads nothing. Who works
// with the keys begins in the page, and not at the top of the window, where a link that was followed is gone with its page.

import { useEffect, useLayoutEffect, useRef, useState } from 'react';
import { useLocation } from 'react-router';
import { onArrival } from '../parts/arrival';

export function Arrival() {
  const { pathname } = useLocation();
  const [said, say] = useState('');
  const now = useRef(pathname);
  // The browser says the first one.
  const last = useRef(pathname);
  // Before any title of the same turn is told.
  useLayoutEffect(() => {
    now.current = pathname;
  }, [pathname]);
  useEffect(
    () =>
      onArrival((title) => {
        if (now.current === last.current) return;
        last.current = now.current;
        say(title);
        // A field that asked for the focus, or what was pressed and is still there, keeps it.
        const { activeElement } = document;
        if (!activeElement || activeElement === document.body) document.getElementById('main')?.focus({ preventScroll: true });
      }),
    [],
  );
  return (
    <div role="status" className="pf-v6-screen-reader">
      {said}
    </div>
  );
}
