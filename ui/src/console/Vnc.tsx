// The screen of a guest, over VNC.

import RFB from '@novnc/novnc';
import { useEffect, useImperativeHandle, useRef, type Ref } from 'react';
import { useTranslation } from 'react-i18next';
import type { ConsoleTicket } from '../api/generated';
import { messageOf } from '../api/errors';
import { endOf, openConsole, type State } from './link';
import type { Handle } from './Serial';

export interface ScreenHandle extends Handle {
  ctrlAltDel(): void;
  key(keysym: number, code: string): void;
}

interface Props {
  ticket(): Promise<ConsoleTicket>;
  state(state: State): void;
  ref: Ref<ScreenHandle>;
}

const AGAIN_MS = 1000;
const ENTER = 0xff0d;

/** Typed key by key: a guest before its drivers has no clipboard. */
function type(rfb: RFB, text: string) {
  for (const letter of text) {
    const point = letter.codePointAt(0) ?? 0;
    rfb.sendKey(letter === '\n' ? ENTER : point < 0x100 ? point : 0x01000000 + point, null);
  }
}

export default function Vnc({ ticket, state, ref }: Props) {
  const { t } = useTranslation();
  const place = useRef<HTMLDivElement>(null);
  const latest = useRef({ ticket, state });
  useEffect(() => {
    latest.current = { ticket, state };
  });
  const rfb = useRef<RFB | undefined>(undefined);
  const again = useRef(() => undefined as void);
  useImperativeHandle(ref, () => ({
    paste: (text) => rfb.current && type(rfb.current, text),
    focus: () => rfb.current?.focus(),
    again: () => again.current(),
    ctrlAltDel: () => rfb.current?.sendCtrlAltDel(),
    key: (keysym, code) => rfb.current?.sendKey(keysym, code),
  }));

  useEffect(() => {
    const target = place.current;
    if (!target) return;
    let gone = false;
    let later: ReturnType<typeof setTimeout> | undefined;
    let number = 0;
    const open = async () => {
      const mine = ++number;
      latest.current.state({ at: 'opening' });
      try {
        const socket = await openConsole(latest.current.ticket);
        if (gone || mine !== number) return socket.close();
        socket.addEventListener('close', ({ code, reason }) => {
          if (gone || mine !== number) return;
          const end = endOf(code, reason);
          latest.current.state(end);
          if (end.at === 'lost') later = setTimeout(() => void open(), AGAIN_MS);
        });
        const screen = new RFB(target, socket, { shared: true });
        screen.scaleViewport = true;
        screen.background = 'transparent';
        screen.addEventListener('connect', () => {
          latest.current.state({ at: 'open' });
          screen.focus();
        });
        rfb.current = screen;
      } catch (error) {
        if (!gone) latest.current.state({ at: 'failed', why: messageOf(error) });
      }
    };
    again.current = () => {
      clearTimeout(later);
      number += 1;
      rfb.current?.disconnect();
      void open();
    };
    void open();
    return () => {
      gone = true;
      clearTimeout(later);
      rfb.current?.disconnect();
      rfb.current = undefined;
    };
  }, []);

  return <div ref={place} className="x-console x-screen" role="application" aria-label={t('Screen')} />;
}
