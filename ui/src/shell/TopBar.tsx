// Where one is, what runs, search, look and language, who is signed in.

import { Button, Divider, Dropdown, DropdownGroup, DropdownItem, DropdownList, Masthead, MastheadBrand, MastheadContent, MastheadLogo, MastheadMain, MastheadToggle, MenuToggle, NotificationBadge, PageToggleButton, Toolbar, ToolbarContent, ToolbarGroup, ToolbarItem } from '@patternfly/react-core';
import AlarmIcon from '@patternfly/react-icons/dist/esm/icons/bell-icon';
import SearchIcon from '@patternfly/react-icons/dist/esm/icons/search-icon';
import TasksIcon from '@patternfly/react-icons/dist/esm/icons/tasks-icon';
import UserIcon from '@patternfly/react-icons/dist/esm/icons/user-icon';
import { useEffect, useRef, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useNavigate } from 'react-router';
import { useLink } from '../api/client';
import { choose, LANGUAGES } from '../i18n';
import { useAlarms } from '../live/alarms';
import { useRunning } from '../live/tasks';
import { useFormat } from '../parts/format';
import { useNarrow } from '../parts/url';
import { Brand } from './Brand';
import { openKeys, openPalette } from './Keys';
import { TASKS_BUTTON } from './TasksDrawer';
import { setLook, useLook, type Theme } from './theme';
import { useUser } from './user';

function LinkState() {
  const { t } = useTranslation();
  const format = useFormat();
  const { link, age } = useLink();
  const open = link === 'open';
  const [said, say] = useState('');
  const before = useRef(link);
  // Once for each, and not the age every second.
  useEffect(() => {
    if (before.current === link) return;
    if (link === 'lost') say(t('The connection is lost.'));
    else if (open && before.current === 'lost') say(t('The connection is back.'));
    before.current = link;
  }, [link, open, t]);
  return (
    <>
      <span className={`x-link ${open ? 'x-link-open' : 'x-link-lost'}`}>{open ? t('Live') : t('{{age}} old', { age: format.duration(age) })}</span>
      <span role="status" className="pf-v6-screen-reader">
        {said}
      </span>
    </>
  );
}

function UserMenu({ leave }: { leave: () => void }) {
  const { t, i18n } = useTranslation();
  const user = useUser();
  const navigate = useNavigate();
  const narrow = useNarrow();
  const { theme, contrast } = useLook();
  const [open, setOpen] = useState(false);
  const themes: [Theme, string][] = [
    ['system', t('As the system')],
    ['light', t('Light')],
    ['dark', t('Dark')],
  ];
  return (
    <Dropdown
      isOpen={open}
      onOpenChange={setOpen}
      onSelect={() => setOpen(false)}
      popperProps={{ position: 'right' }}
      toggle={(ref) => (
        <MenuToggle
          ref={ref}
          variant={narrow ? 'plain' : 'plainText'}
          icon={<UserIcon />}
          isExpanded={open}
          onClick={() => setOpen(!open)}
          aria-label={t('{{name}}: account and appearance', { name: user.name })}
        >
          {narrow ? undefined : user.name}
        </MenuToggle>
      )}
    >
      <DropdownList>
        <DropdownItem onClick={() => void navigate('/account')}>{t('My account')}</DropdownItem>
        <DropdownItem onClick={openKeys}>{t('Keyboard shortcuts')}</DropdownItem>
        <DropdownItem onClick={() => void navigate('/about')}>{t('About')}</DropdownItem>
      </DropdownList>
      <Divider />
      <DropdownGroup label={t('Appearance')}>
        <DropdownList>
          {themes.map(([value, label]) => (
            <DropdownItem key={value} isSelected={theme === value} onClick={() => setLook('theme', value)}>
              {label}
            </DropdownItem>
          ))}
          <DropdownItem isSelected={contrast === 'high'} onClick={() => setLook('contrast', contrast === 'high' ? 'system' : 'high')}>
            {t('High contrast')}
          </DropdownItem>
        </DropdownList>
      </DropdownGroup>
      <Divider />
      <DropdownGroup label={t('Language')}>
        <DropdownList>
          {Object.entries(LANGUAGES).map(([code, name]) => (
            <DropdownItem key={code} lang={code} isSelected={i18n.language === code} onClick={() => void choose(code)}>
              {name}
            </DropdownItem>
          ))}
        </DropdownList>
      </DropdownGroup>
      <Divider />
      <DropdownList>
        <DropdownItem onClick={leave}>{t('Sign out')}</DropdownItem>
      </DropdownList>
    </Dropdown>
  );
}

/** How many alarms there are; on a phone only when there are some. */
function AlarmCount() {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const narrow = useNarrow();
  const { alarms, total } = useAlarms();
  if (narrow && total === 0) return null;
  const variant = total === 0 ? 'read' : alarms[0]?.severity === 'error' ? 'attention' : 'unread';
  return (
    <ToolbarItem>
      <NotificationBadge variant={variant} count={total || undefined} icon={<AlarmIcon />} onClick={() => void navigate('/alarms')} aria-label={total ? t('{{count}} alarms', { count: total }) : t('Alarms')} />
    </ToolbarItem>
  );
}

interface Props {
  leave(): void;
  drawer: boolean;
  toggleDrawer(): void;
}

export function TopBar({ leave, drawer, toggleDrawer }: Props) {
  const { t } = useTranslation();
  const running = useRunning();
  const narrow = useNarrow();
  return (
    <Masthead>
      <MastheadMain>
        <MastheadToggle>
          <PageToggleButton isHamburgerButton aria-label={t('Main navigation')} />
        </MastheadToggle>
        <MastheadBrand>
          <MastheadLogo component={(props) => <Link {...props} to="/" />} className="x-logo">
            <Brand />
            <span>Xenith</span>
          </MastheadLogo>
        </MastheadBrand>
      </MastheadMain>
      <MastheadContent>
        <Toolbar isFullHeight isStatic>
          <ToolbarContent>
            <ToolbarItem className="x-grow">
              <Button variant={narrow ? 'plain' : 'secondary'} className={narrow ? '' : 'x-find'} icon={<SearchIcon />} onClick={openPalette} aria-label={narrow ? t('Search and commands') : undefined}>
                {narrow ? undefined : (
                  <>
                    <span className="x-dim">{t('Search, or do something …')}</span>
                    <kbd>/</kbd>
                  </>
                )}
              </Button>
            </ToolbarItem>
            <ToolbarGroup align={{ default: 'alignEnd' }} alignItems="center" gap={{ default: 'gapMd' }}>
              <ToolbarItem>
                <LinkState />
              </ToolbarItem>
              <AlarmCount />
              <ToolbarItem>
                <NotificationBadge
                  id={TASKS_BUTTON}
                  variant={running.length > 0 ? 'unread' : 'read'}
                  count={running.length || undefined}
                  icon={<TasksIcon />}
                  isExpanded={drawer}
                  onClick={toggleDrawer}
                  aria-label={running.length ? t('{{count}} tasks running', { count: running.length }) : t('Tasks')}
                />
              </ToolbarItem>
              <ToolbarItem>
                <UserMenu leave={leave} />
              </ToolbarItem>
            </ToolbarGroup>
          </ToolbarContent>
        </Toolbar>
      </MastheadContent>
    </Masthead>
  );
}
