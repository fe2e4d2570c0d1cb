// The places, in groups. What is about oneself and the program is in the user's menu.

import { Nav, NavGroup, NavItem, PageSidebar, PageSidebarBody } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';
import { NavLink, useLocation } from 'react-router';
import { seesSecurity } from '../rules/may';
import { GROUPS, PLACES } from './nav';
import { useUser } from './user';

export function Sidebar() {
  const { t } = useTranslation();
  const user = useUser();
  const { pathname } = useLocation();
  const secure = seesSecurity(user);
  const active = (path: string) => (path === '/' ? pathname === '/' : pathname === path || pathname.startsWith(`${path}/`));
  return (
    <PageSidebar>
      <PageSidebarBody>
        <Nav aria-label={t('Main navigation')}>
          {GROUPS.filter((group) => group !== 'System').map((group) => (
            <NavGroup key={group} title={t(group)}>
              {PLACES.filter((place) => place.group === group && (secure || !place.secure)).map(({ path, label }) => (
                <NavItem key={path} itemId={path} isActive={active(path)}>
                  <NavLink to={path} aria-current={active(path) ? 'page' : undefined}>
                    {t(label)}
                  </NavLink>
                </NavItem>
              ))}
            </NavGroup>
          ))}
        </Nav>
      </PageSidebarBody>
    </PageSidebar>
  );
}
