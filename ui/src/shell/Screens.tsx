// Which address is which screen. Each comes when it is first looked at.

import { lazy, Suspense } from 'react';
import { Route, Routes, useLocation } from 'react-router';
import { Loading } from '../parts/feedback';
import { ErrorBoundary } from './ErrorBoundary';
import { Missing } from '../screens/Missing';

const Home = lazy(() => import('../screens/home/Home'));
const Fleet = lazy(() => import('../screens/fleet/Fleet'));
const Topology = lazy(() => import('../screens/topology/Topology'));
const Vms = lazy(() => import('../screens/vm/Vms'));
const VmPage = lazy(() => import('../screens/vm/VmPage'));
const NewVm = lazy(() => import('../screens/vm/new/NewVm'));
const Hosts = lazy(() => import('../screens/host/Hosts'));
const HostPage = lazy(() => import('../screens/host/HostPage'));
const Pools = lazy(() => import('../screens/pool/Pools'));
const PoolPage = lazy(() => import('../screens/pool/PoolPage'));
const Networks = lazy(() => import('../screens/network/Networks'));
const NetworkPage = lazy(() => import('../screens/network/NetworkPage'));
const SecurityGroups = lazy(() => import('../screens/security-group/Groups'));
const Srs = lazy(() => import('../screens/sr/Srs'));
const SrPage = lazy(() => import('../screens/sr/SrPage'));
const Templates = lazy(() => import('../screens/template/Templates'));
const TemplatePage = lazy(() => import('../screens/template/TemplatePage'));
const Deploy = lazy(() => import('../screens/template/Deploy'));
const Fragments = lazy(() => import('../screens/fragment/Fragments'));
const FragmentForm = lazy(() => import('../screens/fragment/FragmentForm'));
const Disks = lazy(() => import('../screens/vdi/Disks'));
const Alarms = lazy(() => import('../screens/alarm/Alarms'));
const RuleForm = lazy(() => import('../screens/alarm/RuleForm'));
const Compare = lazy(() => import('../screens/metrics/Compare'));
const Imports = lazy(() => import('../screens/import/Imports'));
const Backups = lazy(() => import('../screens/backup/Backups'));
const Restore = lazy(() => import('../screens/backup/Restore'));
const Files = lazy(() => import('../screens/backup/Files'));
const Jobs = lazy(() => import('../screens/job/Jobs'));
const JobPage = lazy(() => import('../screens/job/JobPage'));
const JobForm = lazy(() => import('../screens/job/JobForm'));
const Runs = lazy(() => import('../screens/job/Runs'));
const RunPage = lazy(() => import('../screens/job/RunPage'));
const Standbys = lazy(() => import('../screens/standby/Standbys'));
const StandbyPage = lazy(() => import('../screens/standby/StandbyPage'));
const NewStandby = lazy(() => import('../screens/standby/NewStandby'));
const Repositories = lazy(() => import('../screens/repository/Repositories'));
const NewImport = lazy(() => import('../screens/import/new/NewImport'));
const FromFile = lazy(() => import('../screens/import/file/FromFile'));
const ImportPage = lazy(() => import('../screens/import/ImportPage'));
const Waves = lazy(() => import('../screens/wave/Waves'));
const WavePage = lazy(() => import('../screens/wave/WavePage'));
const Tasks = lazy(() => import('../screens/task/Tasks'));
const TaskPage = lazy(() => import('../screens/task/TaskPage'));
const Events = lazy(() => import('../screens/event/Events'));
const Orphans = lazy(() => import('../screens/orphan/Orphans'));
const Users = lazy(() => import('../screens/user/Users'));
const UserPage = lazy(() => import('../screens/user/UserPage'));
const Tokens = lazy(() => import('../screens/token/Tokens'));
const Audit = lazy(() => import('../screens/audit/Audit'));
const Mail = lazy(() => import('../screens/mail/Mail'));
const Certificates = lazy(() => import('../screens/certificate/Certificates'));
const Account = lazy(() => import('../screens/account/Account'));
const About = lazy(() => import('../screens/about/About'));

export function Screens() {
  const { pathname } = useLocation();
  return (
    <ErrorBoundary at={pathname}>
      <Suspense fallback={<Loading />}>
        <Routes>
          <Route path="/" element={<Home />} />
          <Route path="/fleet" element={<Fleet />} />
          <Route path="/topology" element={<Topology />} />
          <Route path="/vms" element={<Vms />} />
          <Route path="/vms/new" element={<NewVm />} />
          <Route path="/vms/:vm" element={<VmPage />} />
          <Route path="/vms/:vm/:tab" element={<VmPage />} />
          <Route path="/hosts" element={<Hosts />} />
          <Route path="/hosts/:host" element={<HostPage />} />
          <Route path="/pools" element={<Pools />} />
          <Route path="/pools/:pool" element={<PoolPage />} />
          <Route path="/networks" element={<Networks />} />
          <Route path="/networks/:network" element={<NetworkPage />} />
          <Route path="/security-groups" element={<SecurityGroups />} />
          <Route path="/storage" element={<Srs />} />
          <Route path="/storage/:sr" element={<SrPage />} />
          <Route path="/templates" element={<Templates />} />
          <Route path="/templates/:template" element={<TemplatePage />} />
          <Route path="/templates/:template/deploy" element={<Deploy />} />
          <Route path="/fragments" element={<Fragments />} />
          <Route path="/fragments/new" element={<FragmentForm />} />
          <Route path="/fragments/:fragment" element={<FragmentForm />} />
          <Route path="/disks" element={<Disks />} />
          <Route path="/backups" element={<Backups />} />
          <Route path="/backups/:repository/:backup/files" element={<Files />} />
          <Route path="/restore/:repository/:backup" element={<Restore />} />
          <Route path="/jobs" element={<Jobs />} />
          <Route path="/jobs/new" element={<JobForm />} />
          <Route path="/jobs/:job" element={<JobPage />} />
          <Route path="/jobs/:job/edit" element={<JobForm />} />
          <Route path="/runs" element={<Runs />} />
          <Route path="/runs/:run" element={<RunPage />} />
          <Route path="/repositories" element={<Repositories />} />
          <Route path="/standbys" element={<Standbys />} />
          <Route path="/standbys/new" element={<NewStandby />} />
          <Route path="/standbys/:standby" element={<StandbyPage />} />
          <Route path="/imports" element={<Imports />} />
          <Route path="/imports/new" element={<NewImport />} />
          <Route path="/imports/upload" element={<FromFile />} />
          <Route path="/imports/:import" element={<ImportPage />} />
          <Route path="/waves" element={<Waves />} />
          <Route path="/waves/:wave" element={<WavePage />} />
          <Route path="/metrics" element={<Compare />} />
          <Route path="/alarms" element={<Alarms />} />
          <Route path="/alarm-rules/new" element={<RuleForm />} />
          <Route path="/alarm-rules/:rule" element={<RuleForm />} />
          <Route path="/tasks" element={<Tasks />} />
          <Route path="/tasks/:task" element={<TaskPage />} />
          <Route path="/events" element={<Events />} />
          <Route path="/orphans" element={<Orphans />} />
          <Route path="/users" element={<Users />} />
          <Route path="/users/:user" element={<UserPage />} />
          <Route path="/tokens" element={<Tokens />} />
          <Route path="/audit" element={<Audit />} />
          <Route path="/mail" element={<Mail />} />
          <Route path="/certificates" element={<Certificates />} />
          <Route path="/account" element={<Account />} />
          <Route path="/about" element={<About />} />
          <Route path="*" element={<Missing />} />
        </Routes>
      </Suspense>
    </ErrorBoundary>
  );
}
