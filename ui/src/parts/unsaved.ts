// What has been typed and not sent: the browser asks before the page is left or loaded anew.

import { useEffect } from 'react';

export function useUnsaved(typed: boolean) {
  useEffect(() => {
    if (!typed) return;
    const ask = (event: BeforeUnloadEvent) => event.preventDefault();
    addEventListener('beforeunload', ask);
    return () => removeEventListener('beforeunload', ask);
  }, [typed]);
}
