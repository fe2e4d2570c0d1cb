//! High availability on the host: its lease, its watchdog, and what it may start ([`xenith_common_ha`]).
//!
//! ```text
//!            arm: a lease is written, journal, threads, the watchdog runs
//! not armed ─────────────────────────────────────────────────────────────> armed ──> (reset by its watchdog)
//!     ^                                                                      │
//!     '───────────── disarm: journal, threads end, the watchdog is let go ───'
//! ```
//!
//! What always holds: on an armed host no VM is started, by whomever, before its watchdog runs, nor after a boot before the
//! orchestrator has allowed it to this run of the agent: an order to start one may be of before the boot. The journal says
//! that the host is armed before the orchestrator is told so, and as long as the orchestrator may go by its lease. What has
//! begun goes on to its end when who asked for it goes away: a journal that says *armed* without threads would have no VM
//! started after the next boot, and threads without the journal would reset the host.
//!
//! A crash: the next start arms from the journal. Killed between the journal and the watchdog while it is disarmed, the host
//! is reset once by a watchdog that nobody feeds. Stopping the agent does not let go of the watchdog.
//!
//! A run of the agent that had neither the orchestrator nor its lease for too long is over ([`Guard::is_over`]). Its watchdog
//! resets the host; where it has opened none, the process ends ([`Ha::over`]) and systemd starts another.

mod keep;
mod watchdog;

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::Instant;
use xenith_common_ha::{Autostart, Challenge, Guard};
use xenith_common_ids::{AgentRunId, HostId, SrId};
use xenith_common_tasks::{CancellationToken, TaskSet};
use xenith_hypervisor_agent_backend::Watchdog;
use xenith_hypervisor_agent_storage::LeaseFolder;
use xenith_hypervisor_agent_types::ha::{ArmedState, Arms, HaAnswer, HaRequest, HaState, SeenLease};
use xenith_hypervisor_agent_types::{Fault, FaultReason};

use crate::disk::Storage;
use crate::fence::Fence;
use keep::{Armed, Me, Shared, lock};

pub use watchdog::KernelWatchdog;

/// How long a host that is being armed may take until its watchdog runs.
const ARM_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);

struct Threads {
    armed: Shared,
    stop: CancellationToken,
}

/// See the module.
pub struct Ha {
    me: Me,
    storage: Storage,
    watchdog: Arc<dyn Watchdog>,
    fence: Arc<Fence>,
    tasks: TaskSet,
    threads: Mutex<Option<Threads>>,
    /// One is armed or disarmed at a time.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Held by who opens the leases of an SR: one that hangs keeps one thread, however often it is asked for.
    opening: Arc<Semaphore>,
    allowed: Notify,
    /// The process has to end.
    over: CancellationToken,
}

impl Ha {
    /// Armed, where the journal says so.
    pub fn start(
        (host, storage): (HostId, Storage),
        watchdog: Arc<dyn Watchdog>,
        fence: Arc<Fence>,
        (arms, autostart): (Option<Arms>, Autostart),
        tasks: TaskSet,
    ) -> Arc<Self> {
        let ha = Arc::new(Self {
            me: Me::new(host),
            storage,
            watchdog,
            fence,
            tasks,
            threads: Mutex::default(),
            turn: Arc::default(),
            opening: Arc::new(Semaphore::new(1)),
            allowed: Notify::new(),
            over: CancellationToken::new(),
        });
        if let Some(arms) = arms
            && let Err(fault) = ha.begin(arms, autostart)
        {
            // It starts no VM, then: nothing says that its watchdog runs.
            tracing::error!(%fault, "this host is armed, and cannot keep its lease");
        }
        if let Some(armed) = ha.armed() {
            lock(&armed).settled = true;
        }
        ha
    }

    pub async fn execute(self: &Arc<Self>, request: HaRequest) -> Result<HaAnswer, Fault> {
        match request {
            HaRequest::Beat { challenge, allow_autostart } => Ok(self.beat(challenge, allow_autostart)),
            HaRequest::Arm(arms) => self.arm(arms).await,
            HaRequest::Disarm { challenge } => self.disarm(Challenge::from_wire(challenge)).await,
            HaRequest::Look { sr, hosts } => self.look(sr, hosts).await,
        }
    }

    /// Cancelled when this run of the agent is over and no watchdog of its own resets the host: the process has to end, and
    /// with it its connections and what is on its way to them.
    #[must_use]
    pub fn over(&self) -> CancellationToken {
        self.over.clone()
    }

    fn armed(&self) -> Option<Shared> {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.as_ref().map(|threads| Arc::clone(&threads.armed))
    }

    fn beat(&self, challenge: Option<u64>, allow_autostart: Option<AgentRunId>) -> HaAnswer {
        if let Some(armed) = self.armed() {
            let mut armed = lock(&armed);
            if let Some(challenge) = challenge {
                armed.guard.answered(Challenge::from_wire(challenge), self.me.now());
            }
            if allow_autostart == Some(self.me.run) {
                armed.guard.allow_autostart();
                self.allowed.notify_waiters();
            }
        }
        self.here()
    }

    /// Who knows the VMs of this host adds them.
    fn here(&self) -> HaAnswer {
        let armed = self.armed().map(|armed| {
            let mut armed = lock(&armed);
            ArmedState {
                arms: armed.arms,
                challenge: armed.guard.challenge(self.me.now()).number(),
                autostart_waits: armed.guard.autostart() == Autostart::Waits,
                lease_problem: armed.lease_problem.clone(),
                watchdog_problem: not_fed(&armed),
            }
        });
        HaAnswer::Here(HaState { run: self.me.run, vms: Vec::new(), armed })
    }

    async fn arm(self: &Arc<Self>, arms: Arms) -> Result<HaAnswer, Fault> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        if let Some(armed) = self.armed() {
            let before = lock(&armed).arms;
            if before == arms {
                return self.until_fed().await;
            }
            let message = format_args!("this host is armed with SR {} already; disarm it first", before.sr);
            return Err(Fault::new(FaultReason::WrongState, message));
        }
        // Before anything is promised: whether there is a folder for leases at all. Who goes away lets others have the turn.
        self.opened(arms.sr, |_| Ok(())).await?;
        let ha = Arc::clone(self);
        let arm = async move {
            let _turn = turn;
            ha.arm_now(arms).await
        };
        self.wholly("arm", arm).await
    }

    async fn arm_now(self: Arc<Self>, arms: Arms) -> Result<HaAnswer, Fault> {
        self.fence.note_arms(Some(arms)).await?;
        // Whatever was to start with this boot was started.
        let begun = self.begin(arms, Autostart::Allowed);
        let fed = match begun {
            Ok(()) => self.until_fed().await,
            Err(fault) => Err(fault),
        };
        if fed.is_err() {
            self.stand_down(None).await?;
        }
        fed
    }

    /// Waits until the watchdog runs, or says why it does not.
    async fn until_fed(&self) -> Result<HaAnswer, Fault> {
        let deadline = Instant::now() + ARM_WITHIN;
        loop {
            let Some(armed) = self.armed() else {
                return Err(Fault::new(FaultReason::WrongState, "this host is not armed"));
            };
            let (runs, failed) = {
                let mut armed = lock(&armed);
                let runs = armed.watchdog.is_some() && armed.watchdog_problem.is_none();
                // Under the lock: from here on the host says that it is armed, and nothing takes that back but an order.
                armed.settled |= runs;
                let failed = armed.watchdog_problem.clone().or_else(|| armed.lease_problem.clone());
                (runs, failed)
            };
            if runs {
                return Ok(self.here());
            }
            if failed.is_some() || Instant::now() >= deadline {
                let problem = failed.unwrap_or_else(|| "its watchdog does not run yet".to_owned());
                return Err(Fault::new(FaultReason::NotReady, problem));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn disarm(self: &Arc<Self>, challenge: Challenge) -> Result<HaAnswer, Fault> {
        let ha = Arc::clone(self);
        let disarm = async move {
            let _turn = ha.turn.lock().await;
            ha.stand_down(Some(challenge)).await
        };
        self.wholly("disarm", disarm).await?;
        Ok(self.here())
    }

    /// Also when the caller goes away: half of it would leave a watchdog that nobody feeds, or a journal that lies.
    async fn wholly<T: Send + 'static>(
        &self,
        name: &str,
        work: impl Future<Output = Result<T, Fault>> + Send + 'static,
    ) -> Result<T, Fault> {
        let (told, answer) = oneshot::channel();
        self.tasks.spawn(name, async move {
            let _nobody_waits = told.send(work.await);
        });
        answer.await.map_err(|_| Fault::new(FaultReason::NotReady, "the agent is stopping"))?
    }

    async fn stand_down(&self, challenge: Option<Challenge>) -> Result<(), Fault> {
        // From here on the host says that it is not armed, so that nobody begins to go by its lease.
        let threads = self.take_threads(challenge)?;
        let noted = self.fence.note_arms(None).await;
        let Some(threads) = threads else { return noted };
        if noted.is_err() {
            *self.threads.lock().unwrap_or_else(PoisonError::into_inner) = Some(threads);
            return noted;
        }
        threads.stop.cancel();
        let open = lock(&threads.armed).watchdog.take();
        // Who waits to be allowed to start something is.
        self.allowed.notify_waiters();
        match open.map(|open| open.let_go()) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(Fault::new(
                FaultReason::Hypervisor,
                format_args!("the watchdog cannot be stopped ({error}): it will reset this host"),
            )),
        }
    }

    fn take_threads(&self, challenge: Option<Challenge>) -> Result<Option<Threads>, Fault> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(threads), Some(challenge)) = (threads.as_ref(), challenge) {
            let armed = lock(&threads.armed);
            // Not armed, it would start what it was told to start before it was counted as dead.
            if armed.guard.is_over(self.me.now()) {
                return Err(Fault::new(FaultReason::NotReady, keep::OVER));
            }
            if !armed.guard.is_newest(challenge) {
                let message = "this host has said since that it is armed; ask it again";
                return Err(Fault::new(FaultReason::WrongState, message));
            }
        }
        Ok(threads.take())
    }

    fn begin(&self, arms: Arms, autostart: Autostart) -> Result<(), Fault> {
        let first = u64::from_be_bytes(self.me.run.as_bytes()[8..].try_into().unwrap_or_default());
        let armed = Arc::new(Mutex::new(Armed {
            arms,
            guard: Guard::new(arms.timing, autostart, first, self.me.now()),
            watchdog: None,
            settled: false,
            lease_problem: None,
            watchdog_problem: None,
        }));
        let stop = self.tasks.token().child_token();
        let threads = Threads { armed: Arc::clone(&armed), stop: stop.clone() };
        *self.threads.lock().unwrap_or_else(PoisonError::into_inner) = Some(threads);
        let (me, weak, token) = (self.me, Arc::downgrade(&armed), stop.clone());
        let storage = self.storage.clone();
        spawn("lease", move || keep::renew(&weak, &storage, me, &token))?;
        let (weak, watchdog) = (Arc::downgrade(&armed), Arc::clone(&self.watchdog));
        let over = self.over();
        spawn("watchdog", move || keep::feed(&weak, &*watchdog, me, (&stop, &over)))
    }

    async fn look(&self, sr: SrId, hosts: Vec<HostId>) -> Result<HaAnswer, Fault> {
        let look = move |folder: &LeaseFolder| -> Result<Vec<SeenLease>, Fault> {
            let mut seen = Vec::with_capacity(hosts.len());
            for host in hosts {
                seen.push(SeenLease { host, mark: folder.read(host)? });
            }
            Ok(seen)
        };
        self.opened(sr, look).await.map(HaAnswer::Leases)
    }

    /// Does something with the leases of an SR, which may hang.
    async fn opened<T: Send + 'static>(
        &self,
        sr: SrId,
        with: impl FnOnce(&LeaseFolder) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let Ok(permit) = Arc::clone(&self.opening).try_acquire_owned() else {
            let message = format_args!("SR {sr} does not answer: the leases in it are being opened already");
            return Err(Fault::new(FaultReason::NotReady, message));
        };
        let storage = self.storage.clone();
        let work = move || {
            let _until_it_answers = permit;
            with(&keep::open_folder(&storage, sr)?)
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| Fault::new(FaultReason::Internal, error))?
    }

    /// Refuses to start a VM on a host that is armed and may be reset any moment.
    pub fn before_start(&self) -> Result<(), Fault> {
        let Some(armed) = self.armed() else { return Ok(()) };
        let armed = lock(&armed);
        if let Some(problem) = not_fed(&armed) {
            let message =
                format_args!("this host is armed for high availability, and starts nothing: {problem}");
            return Err(Fault::new(FaultReason::NotReady, message));
        }
        if armed.guard.may_start(self.me.now()) {
            return Ok(());
        }
        if armed.guard.autostart() == Autostart::Waits {
            let message = "this host is armed for high availability and was booted: it starts nothing before the \
                           orchestrator has seen to what others run by now";
            return Err(Fault::new(FaultReason::NotReady, message));
        }
        let message = "this host has neither the orchestrator nor its lease, and is about to be reset by its watchdog; \
                       see to the SR of its lease";
        Err(Fault::new(FaultReason::NotReady, message))
    }

    /// Whether VMs that were being started when the host went down are left to who decides.
    pub fn leaves_starts(&self) -> bool {
        self.armed().is_some_and(|armed| lock(&armed).guard.autostart() == Autostart::Waits)
    }

    /// Waits until what starts with the host may start.
    pub async fn may_autostart(&self) {
        loop {
            // Before the look, so that a change right after it is not missed.
            let news = self.allowed.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            if !self.leaves_starts() && self.before_start().is_ok() {
                return;
            }
            // Whether a lease could be written is nobody's news.
            let _either = tokio::time::timeout(Duration::from_secs(1), news).await;
        }
    }
}

/// Why the watchdog does not run.
fn not_fed(armed: &Armed) -> Option<String> {
    let not_yet = armed.watchdog.is_none() || !armed.settled;
    let unopened = || not_yet.then(|| "its watchdog does not run yet".to_owned());
    armed.watchdog_problem.clone().or_else(unopened)
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), Fault> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    spawned.map(drop).map_err(|error| Fault::new(FaultReason::Internal, error))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use tokio::time::{sleep, timeout};
    use xenith_common_ids::Epoch;
    use xenith_hypervisor_agent_api::MakeSr;
    use xenith_hypervisor_agent_sim::SimHypervisor;
    use xenith_hypervisor_agent_storage::file::FileDriver;
    use xenith_hypervisor_agent_types::SrSpec;
    use xenith_hypervisor_agent_types::ha::Timing;

    use super::*;
    use crate::disk::{AttachedSr, Attachments, InUse};
    use crate::journal::{HostRecord, Journal};

    /// The host's disk is slow, and who orders it does not wait.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_host_is_armed_wholly_also_for_a_caller_that_goes_away() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        let (boot, format) = (String::new(), Journal::FORMAT);
        let record = HostRecord { format, epoch: Epoch(1), boot, local_sr: SrId::new(), arms: None };
        journal.save_host(&record).unwrap();
        let fence = Arc::new(Fence::new(journal.clone(), record));
        let own = FileDriver::open(SrId::new(), folder.path().to_owned());
        let mut storage = Storage::new(Arc::new(own), InUse::default());
        storage.remember(Attachments::open(folder.path(), folder.path()).unwrap());
        let (sr, path) = (SrId::new(), folder.path().join("nas"));
        let spec = SrSpec::Folder { path: path.to_str().unwrap().to_owned() };
        storage.attach(&AttachedSr { sr, spec }, MakeSr::New).unwrap();
        let of_host = (HostId::new(), storage);
        let (watchdog, tasks) = (SimHypervisor::builder().build(), TaskSet::new());
        let not_armed = (None, Autostart::Allowed);
        let ha = Ha::start(of_host, watchdog, Arc::clone(&fence), not_armed, tasks.clone());

        // Somebody else holds the record: who opens a pipe to write waits for a reader.
        let partial = folder.path().join("host.partial");
        assert!(Command::new("mkfifo").arg(&partial).status().unwrap().success());
        assert!(timeout(Duration::from_millis(1), fence.pass(Epoch(2))).await.is_err());
        let arms = Arms { sr, timing: Timing::new(6, 1, 1).unwrap() };
        let before = Arc::strong_count(&ha);
        let mut arming = Box::pin(ha.execute(HaRequest::Arm(arms)));
        let deadline = Instant::now() + Duration::from_secs(30);
        while Arc::strong_count(&ha) == before {
            assert!(Instant::now() < deadline, "nobody goes on with it");
            assert!(timeout(LOOK_EVERY, &mut arming).await.is_err(), "the record is held");
        }
        drop(arming);
        assert!(ha.armed().is_none());

        let reader = std::thread::spawn(move || std::fs::read(partial));
        while !ha.armed().is_some_and(|armed| lock(&armed).settled) {
            assert!(Instant::now() < deadline, "it is half armed");
            sleep(LOOK_EVERY).await;
        }
        reader.join().unwrap().unwrap();
        assert_eq!(journal.load_host().unwrap().unwrap().arms, Some(arms));
        tasks.shut_down(Duration::from_secs(30)).await.unwrap();
    }
}
