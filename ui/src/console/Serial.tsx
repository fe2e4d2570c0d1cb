// A terminal: a guest's serial console or a host's shell.

import '@xterm/xterm/css/xterm.css';
import { FitAddon } from '@xterm/addon-fit';
import { Terminal } from '@xterm/xterm';
import { useEffect, useImperativeHandle, useRef, type Ref } from 'react';
import { useTranslation } from 'react-i18next';
import type { ConsoleTicket } from '../api/generated';
import { messageOf } from '../api/errors';
import { endOf, openConsole, type State } from './link';
import { strictDocument, strictly } from './strict';

export interface Handle {
  paste(text: string): void;
  focus(): void;
  again(): void;
}

interface Props {
  ticket(): Promise<ConsoleTicket>;
  state(state: State): void;
  /** The other side takes a size: a host's shell does, a serial line does not. */
  sized?: boolean;
  ref: Ref<Handle>;
}

const AGAIN_MS = 1000;

export default function Serial({ ticket, state, sized, ref }: Props) {
  const { t } = useTranslation();
  const place = useRef<HTMLDivElement>(null);
  const latest = useRef({ ticket, state });
  useEffect(() => {
    latest.current = { ticket, state };
  });
  const handle = useRef<Handle>({ paste: () => undefined, focus: () => undefined, again: () => undefined });
  useImperativeHandle(ref, () => ({
    paste: (text) => handle.current.paste(text),
    focus: () => handle.current.focus(),
    again: () => handle.current.again(),
  }));

  useEffect(() => {
    if (!place.current) return;
    const terminal = new Terminal({
      documentOverride: strictDocument(),
      cursorBlink: !matchMedia('(prefers-reduced-motion: reduce)').matches,
      fontFamily: 'ui-monospace, "Liberation Mono", Menlo, monospace',
      fontSize: 14,
      scrollback: 5000,
      screenReaderMode: true,
      theme: { background: '#101418', foreground: '#e6e6e6' },
    });
    const fit = new FitAddon();
    terminal.loadAddon(fit);
    const element = place.current;
    strictly(() => terminal.open(element));
    let socket: WebSocket | undefined;
    let gone = false;
    let later: ReturnType<typeof setTimeout> | undefined;
    const bytes = new TextEncoder();
    const send = (data: string | Uint8Array<ArrayBuffer>) => socket?.readyState === WebSocket.OPEN && socket.send(data);
    const resize = () => {
      fit.fit();
      if (sized) send(JSON.stringify({ resize: { columns: terminal.cols, rows: terminal.rows } }));
    };
    const open = async () => {
      latest.current.state({ at: 'opening' });
      try {
        const opened = await openConsole(latest.current.ticket);
        if (gone) return opened.close();
        socket = opened;
        opened.onopen = () => {
          terminal.reset();
          latest.current.state({ at: 'open' });
          resize();
        };
        opened.onmessage = ({ data }) => terminal.write(typeof data === 'string' ? data : new Uint8Array(data as ArrayBuffer));
        opened.onclose = ({ code, reason }) => {
          if (gone || socket !== opened) return;
          const end = endOf(code, reason);
          latest.current.state(end);
          if (end.at === 'lost') later = setTimeout(() => void open(), AGAIN_MS);
        };
      } catch (error) {
        if (!gone) latest.current.state({ at: 'failed', why: messageOf(error) });
      }
    };
    handle.current = {
      paste: (text) => terminal.paste(text),
      focus: () => terminal.focus(),
      again: () => {
        clearTimeout(later);
        const old = socket;
        socket = undefined;
        old?.close();
        void open();
      },
    };
    const input = terminal.onData((data) => send(bytes.encode(data)));
    const binary = terminal.onBinary((data) => send(Uint8Array.from(data, (c) => c.charCodeAt(0))));
    const observer = new ResizeObserver(resize);
    observer.observe(place.current);
    void open();
    terminal.focus();
    return () => {
      gone = true;
      clearTimeout(later);
      observer.disconnect();
      input.dispose();
      binary.dispose();
      socket?.close();
      terminal.dispose();
    };
  }, [sized]);

  return <div ref={place} className="x-console x-terminal" role="application" aria-label={t('Terminal')} />;
}
