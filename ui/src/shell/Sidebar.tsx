// The places, in groups. What is about oneself and the program is in the user's menu.

import { Nav, NavGroup, NavItem, PageSidebar, PageSidebarBody } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';
import { NavLink, useLocation } from 'react-router';
import { seesSecurity } from '../rules/may';
import { GROUPS, PLACES, type Place } from './nav';
import { useUser } from './user';

export function Sidebar() {
  const { t } = useTranslation();
  const user = useUser();
  const { pathname } = useLocation();
  const secure = seesSecurity(user);
  const active = (path: string) => (path === '/' ? pathname === '/' : pathname === path || pathname.startsWith(`${path}/`));
  const groups = GROUPS.filter((group) => group !== 'System')
    .map((group): [string, Place[]] => [group, PLACES.filter((place) => place.group === group && (secure || !place.secure))])
    .filter(([, places]) => places.length > 0);
  return (
    <PageSidebar>
      <PageSidebarBody>
        <Nav aria-label={t('Main navigation')}>
          {groups.map(([group, places]) => (
            <NavGroup key={group} title={t(group)}>
              {places.map(({ path, label }) => (
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
