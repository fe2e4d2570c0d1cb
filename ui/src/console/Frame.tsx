// Around a console: how the connection is, keys, paste, full screen, a window of its own.

import { Button, Dropdown, DropdownItem, DropdownList, MenuToggle, Toolbar, ToolbarContent, ToolbarGroup, ToolbarItem } from '@patternfly/react-core';
import { useRef, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Alert } from '../parts/Alert';
import { useToasts } from '../parts/toasts';
import type { State } from './link';
import type { Handle } from './Serial';
import type { ScreenHandle } from './Vnc';

interface Props {
  /** Where it opens in a window of its own; there it is nothing. */
  detach?: string;
  choice?: React.ReactNode;
  /** Of a screen: keys that a browser keeps to itself. */
  keys?: boolean;
  children(state: (state: State) => void, handle: React.RefObject<(Handle & Partial<ScreenHandle>) | null>): React.ReactNode;
}

const KEYS: [string, number, string][] = [
  ['Esc', 0xff1b, 'Escape'],
  ['Tab', 0xff09, 'Tab'],
  ['F1', 0xffbe, 'F1'],
  ['F2', 0xffbf, 'F2'],
  ['F8', 0xffc5, 'F8'],
  ['F11', 0xffc8, 'F11'],
  ['F12', 0xffc9, 'F12'],
];

export function Frame({ detach, choice, keys, children }: Props) {
  const { t } = useTranslation();
  const { fail } = useToasts();
  const [state, setState] = useState<State>({ at: 'opening' });
  const [menu, setMenu] = useState(false);
  const handle = useRef<Handle & Partial<ScreenHandle>>(null);
  const frame = useRef<HTMLDivElement>(null);
  const paste = async () => {
    try {
      handle.current?.paste(await navigator.clipboard.readText());
      handle.current?.focus();
    } catch (error) {
      fail(t('The clipboard cannot be read'), error);
    }
  };
  const words = {
    opening: t('Connecting …'),
    open: t('Connected'),
    lost: t('The connection broke; it is opened again.'),
    ended: t('The console has ended.'),
    failed: t('The console cannot be opened'),
    refused: t('You may not look at this console any more.'),
  };
  return (
    <div ref={frame} className="x-frame">
      <Toolbar className="x-toolbar" inset={{ default: 'insetNone' }}>
        <ToolbarContent>
          {choice && <ToolbarItem>{choice}</ToolbarItem>}
          <ToolbarItem alignSelf="center">
            <span className={`x-link ${state.at === 'open' ? 'x-link-open' : 'x-link-lost'}`} role="status">
              {words[state.at]}
            </span>
          </ToolbarItem>
          <ToolbarGroup align={{ default: 'alignEnd' }} gap={{ default: 'gapSm' }}>
            {keys && (
              <ToolbarItem>
                <Dropdown
                  isOpen={menu}
                  onOpenChange={setMenu}
                  onSelect={() => setMenu(false)}
                  toggle={(ref) => (
                    <MenuToggle ref={ref} isExpanded={menu} onClick={() => setMenu(!menu)}>
                      {t('Keys')}
                    </MenuToggle>
                  )}
                >
                  <DropdownList>
                    <DropdownItem onClick={() => handle.current?.ctrlAltDel?.()}>Ctrl-Alt-Del</DropdownItem>
                    {KEYS.map(([name, keysym, code]) => (
                      <DropdownItem key={name} onClick={() => handle.current?.key?.(keysym, code)}>
                        {name}
                      </DropdownItem>
                    ))}
                  </DropdownList>
                </Dropdown>
              </ToolbarItem>
            )}
            <ToolbarItem>
              <Button variant="secondary" onClick={() => void paste()}>
                {t('Paste')}
              </Button>
            </ToolbarItem>
            <ToolbarItem>
              <Button variant="secondary" onClick={() => void frame.current?.requestFullscreen().catch(() => undefined)}>
                {t('Full screen')}
              </Button>
            </ToolbarItem>
            {detach && (
              <ToolbarItem>
                <Button variant="secondary" component="a" href={detach} target="_blank" rel="noreferrer">
                  {t('Own window')}
                </Button>
              </ToolbarItem>
            )}
          </ToolbarGroup>
        </ToolbarContent>
      </Toolbar>
      {(state.at === 'failed' || state.at === 'ended' || state.at === 'refused') && (
        <Alert
          isInline
          variant={state.at === 'ended' ? 'info' : 'danger'}
          title={words[state.at]}
          actionLinks={
            <Button variant="link" isInline onClick={() => handle.current?.again()}>
              {t('Open it again')}
            </Button>
          }
        >
          {state.why}
        </Alert>
      )}
      {children(setState, handle)}
    </div>
  );
}
