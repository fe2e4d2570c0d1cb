// Masthead, navigation, the screen, the drawer with tasks; what is the same on every screen.

import { Page, SkipToContent } from '@patternfly/react-core';
import { lazy, Suspense, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useLocation, Route, Routes } from 'react-router';
import { useChangeFeed } from '../live/changes';
import { useEventFeed } from '../live/events';
import { useTaskFeed } from '../live/tasks';
import { ActsProvider } from '../parts/acts';
import { PassesOver } from '../parts/BackCloses';
import { Loading } from '../parts/feedback';
import { ToastsProvider } from '../parts/toasts';
import { Arrival } from './Arrival';
import { LinkBanner } from './LinkBanner';
import { Keys } from './Keys';
import { Sidebar } from './Sidebar';
import { enterTasks, TasksDrawer } from './TasksDrawer';
import { TopBar } from './TopBar';
import { Screens } from './Screens';
import { UploadBanner } from './UploadBanner';
import { useUser } from './user';

const Window = lazy(() => import('../console/Window'));
const Account = lazy(() => import('../screens/account/Account'));

export function Shell({ leave }: { leave: () => void }) {
  const { t } = useTranslation();
  const { pathname } = useLocation();
  const user = useUser();
  const [drawer, setDrawer] = useState(false);
  useTaskFeed();
  useEventFeed();
  useChangeFeed();
  if (pathname.startsWith('/window/')) {
    return (
      <ToastsProvider>
        <Suspense fallback={<Loading />}>
          <Routes>
            <Route path="/window/:noun/:id/:kind" element={<Window />} />
          </Routes>
        </Suspense>
      </ToastsProvider>
    );
  }
  return (
    <ToastsProvider>
      <ActsProvider>
        <Page
          masthead={<TopBar leave={leave} drawer={drawer} toggleDrawer={() => setDrawer(!drawer)} />}
          sidebar={<Sidebar />}
          isManagedSidebar
          isContentFilled
          skipToContent={<SkipToContent href="#main">{t('Skip to the content')}</SkipToContent>}
          mainContainerId="main"
          mainAriaLabel={t('Content')}
          mainTabIndex={-1}
          isNotificationDrawerExpanded={drawer}
          onNotificationDrawerExpand={enterTasks}
          notificationDrawer={<TasksDrawer close={() => setDrawer(false)} />}
        >
          <LinkBanner />
          <UploadBanner />
          {/* Everything else would be refused. */}
          {user.totp_due ? (
            <Suspense fallback={<Loading />}>
              <Account />
            </Suspense>
          ) : (
            <Screens />
          )}
        </Page>
        <Keys />
        <Arrival />
        <PassesOver />
      </ActsProvider>
    </ToastsProvider>
  );
}
