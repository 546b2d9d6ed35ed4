/** Which page is at which path. Every page but the way in is loaded when it is first opened. */
import { lazy, Suspense } from 'react';
import { Route, Routes } from 'react-router';
import { Gate } from './pages/entrance/Gate';
import { Loading } from './parts/Loading';
import { Nowhere } from './pages/Nowhere';
import { Shell } from './parts/shell/Shell';

const SetUp = lazy(() => import('./pages/entrance/SetUp'));
const SignIn = lazy(() => import('./pages/entrance/SignIn'));
const Overview = lazy(() => import('./pages/overview/Overview'));
const Agents = lazy(() => import('./pages/agents/Agents'));
const People = lazy(() => import('./pages/people/People'));
const Sync = lazy(() => import('./pages/sync/Sync'));
const Edit = lazy(() => import('./pages/sync/Edit'));
const Wizard = lazy(() => import('./pages/wizard/Wizard'));
const Inbox = lazy(() => import('./pages/inbox/Inbox'));
const Activity = lazy(() => import('./pages/activity/Activity'));
const Connections = lazy(() => import('./pages/connections/Connections'));
const Notifications = lazy(() => import('./pages/notifications/Notifications'));

export function App() {
  return (
    <Suspense fallback={<Loading />}>
      <Routes>
        <Route path="/setup" element={<SetUp />} />
        <Route path="/sign-in" element={<SignIn />} />
        <Route element={<Gate />}>
          <Route element={<Shell />}>
            <Route index element={<Overview />} />
            <Route path="syncs/new/:id?" element={<Wizard />} />
            <Route path="syncs/:name/edit" element={<Edit />} />
            <Route path="syncs/:name" element={<Sync />} />
            <Route path="inbox" element={<Inbox />} />
            <Route path="activity" element={<Activity />} />
            <Route path="agents" element={<Agents />} />
            <Route path="connections" element={<Connections />} />
            <Route path="notifications" element={<Notifications />} />
            <Route path="people" element={<People />} />
            <Route path="*" element={<Nowhere />} />
          </Route>
        </Route>
      </Routes>
    </Suspense>
  );
}
