// A root shell of a host, for an admin of everything.

import TerminalIcon from '@patternfly/react-icons/dist/esm/icons/terminal-icon';
import { lazy, Suspense } from 'react';
import { useTranslation } from 'react-i18next';
import { useSocket } from '../api/client';
import type { Host } from '../api/generated';
import { Loading, Nothing } from '../parts/feedback';
import { mayNot } from '../rules/may';
import { useUser } from '../shell/user';
import { Frame } from './Frame';
import type { Handle } from './Serial';

const Serial = lazy(() => import('./Serial'));

export function HostShell({ host, alone }: { host: Host; alone?: boolean }) {
  const { t } = useTranslation();
  const user = useUser();
  const socket = useSocket();
  const why = mayNot(user, 'console.host');
  if (why) {
    return (
      <Nothing icon={TerminalIcon} title={t('No console for you')}>
        {t(why)}
      </Nothing>
    );
  }
  return (
    <Frame detach={alone ? undefined : `/window/host/${host.id}/shell`}>
      {(state, handle) => (
        <Suspense fallback={<Loading />}>
          <Serial sized ticket={() => socket.call('console.host', { host: host.id })} state={state} ref={handle as React.RefObject<Handle | null>} />
        </Suspense>
      )}
    </Frame>
  );
}
