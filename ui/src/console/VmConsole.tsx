// The consoles of a VM: serial, and its screen where it has one.

import { ToggleGroup, ToggleGroupItem } from '@patternfly/react-core';
import MonitorIcon from '@patternfly/react-icons/dist/esm/icons/terminal-icon';
import { lazy, Suspense, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useSocket } from '../api/client';
import type { ConsoleKind, Vm } from '../api/generated';
import { Loading, Nothing } from '../parts/feedback';
import { mayNot } from '../rules/may';
import { useUser } from '../shell/user';
import { Frame } from './Frame';
import type { Handle } from './Serial';
import type { ScreenHandle } from './Vnc';

const Serial = lazy(() => import('./Serial'));
const Vnc = lazy(() => import('./Vnc'));

export function VmConsole({ vm, alone, first }: { vm: Vm; alone?: boolean; first?: ConsoleKind }) {
  const { t } = useTranslation();
  const user = useUser();
  const socket = useSocket();
  const screen = vm.spec?.graphics === 'vnc';
  const [kind, setKind] = useState<ConsoleKind>(first ?? (screen ? 'vnc' : 'serial'));
  const why = mayNot(user, 'console.vm', { pool: vm.pool, tags: vm.tags });
  if (why) {
    return (
      <Nothing icon={MonitorIcon} title={t('No console for you')}>
        {t(why)}
      </Nothing>
    );
  }
  if (!['running', 'paused', 'starting', 'stopping'].includes(vm.power)) {
    return (
      <Nothing icon={MonitorIcon} title={t('It does not run')}>
        {t('Start it: its console opens here by itself.')}
      </Nothing>
    );
  }
  const ticket = () => socket.call('console.vm', { vm: vm.id, kind });
  const choice = screen && (
    <ToggleGroup aria-label={t('Which console')}>
      <ToggleGroupItem text={t('Screen')} buttonId="console-vnc" isSelected={kind === 'vnc'} onChange={() => setKind('vnc')} />
      <ToggleGroupItem text={t('Serial')} buttonId="console-serial" isSelected={kind === 'serial'} onChange={() => setKind('serial')} />
    </ToggleGroup>
  );
  return (
    <Frame key={kind} choice={choice} keys={kind === 'vnc'} detach={alone ? undefined : `/window/vm/${vm.id}/${kind}`}>
      {(state, handle) => (
        <Suspense fallback={<Loading />}>
          {kind === 'vnc' ? (
            <Vnc ticket={ticket} state={state} ref={handle as React.RefObject<ScreenHandle | null>} />
          ) : (
            <Serial ticket={ticket} state={state} ref={handle as React.RefObject<Handle | null>} />
          )}
        </Suspense>
      )}
    </Frame>
  );
}
