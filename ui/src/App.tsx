// Who is signed in decides what there is: the sign-in page, or the shell with its screens.

import { Bullseye, Spinner } from '@patternfly/react-core';
import { QueryClientProvider } from '@tanstack/react-query';
import { useCallback, useEffect, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { BrowserRouter } from 'react-router';
import { queries, socket, SocketProvider } from './api/client';
import { ApiError } from './api/errors';
import type { User } from './api/generated';
import { signOut } from './api/session';
import { Failed } from './parts/feedback';
import { UserContext } from './shell/user';
import { Shell } from './shell/Shell';
import { SignIn } from './shell/SignIn';

type Who = { state: 'asking' } | { state: 'nobody'; ended?: boolean } | { state: 'in'; user: User } | { state: 'failed'; error: unknown };

export function App() {
  const { t } = useTranslation();
  const [who, setWho] = useState<Who>({ state: 'asking' });

  const ask = useCallback(async () => {
    setWho({ state: 'asking' });
    // The cookie goes with the handshake: another session needs another connection.
    socket.close();
    socket.open();
    try {
      setWho({ state: 'in', user: await socket.call('auth.whoami', {}) });
    } catch (error) {
      const nobody = error instanceof ApiError && error.reason === 'unauthenticated';
      setWho(nobody ? { state: 'nobody' } : { state: 'failed', error });
    }
  }, []);

  useEffect(() => {
    void ask();
    socket.onSignedOut = () => {
      queries.clear();
      setWho((before) => (before.state === 'in' ? { state: 'nobody', ended: true } : before));
    };
    return () => socket.close();
  }, [ask]);

  // What could not be reached is asked again by itself once the connection is back, as its message says.
  useEffect(() => {
    if (who.state !== 'failed') return;
    return socket.watch(() => {
      if (socket.link === 'open') void ask();
    });
  }, [who.state, ask]);

  const leave = async () => {
    await signOut().catch(() => undefined);
    queries.clear();
    socket.close();
    setWho({ state: 'nobody' });
  };

  if (who.state === 'failed') return <Failed error={who.error} retry={() => void ask()} />;
  if (who.state === 'nobody') return <SignIn ended={who.ended ?? false} done={() => void ask()} />;
  if (who.state === 'asking') {
    return (
      <Bullseye className="x-full">
        <Spinner aria-label={t('Loading')} />
      </Bullseye>
    );
  }
  return (
    <SocketProvider value={socket}>
      <QueryClientProvider client={queries}>
        <UserContext value={who.user}>
          <BrowserRouter>
            <Shell leave={() => void leave()} />
          </BrowserRouter>
        </UserContext>
      </QueryClientProvider>
    </SocketProvider>
  );
}
