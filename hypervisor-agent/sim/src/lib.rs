//! A Xen host that exists in memory only, behind the seam that libxl is behind.
//!
//! What it is for: the real agent runs on it in tests, in a laptop's demonstration and by the ten thousand in
//! fleet benches; faults that a real host shows once a year are one line here ([`FaultRule`]).
//!
//! What always holds: what [`xenith_hypervisor_agent_backend`] promises for every back-end, faults included
//! (only a `spoil` rule lies, because that is its purpose). A call is carried out even if its caller stops
//! waiting, as with a real toolstack. The same seed, configuration and order of calls give the same delays
//! and faults. At rest a domain is under 2 KiB and a host is one sleeping task.
//!
//! Who else touches it: the agent through [`Hypervisor`] and [`GuestFactsSource`], tests also through the
//! controls of [`SimHypervisor`] (a guest's crash, an administrator's `xl`).
//!
//! On a crash of the process every domain is gone, as after a host's reboot.

mod builder;
mod clock;
mod config;
mod console;
mod control;
mod delay;
mod devices;
mod facts;
mod fault;
mod guest_agent;
mod hypervisor;
mod management;
mod meters;
mod operation;
mod port;
mod proof;
mod stream;
mod system;
mod watchdog;
mod world;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use xenith_common_tasks::{Stragglers, TaskSet};
use xenith_hypervisor_agent_backend::{HypervisorError, Result};

#[cfg(doc)]
use xenith_hypervisor_agent_backend::{GuestFactsSource, Hypervisor};

pub use builder::SimBuilder;
pub use clock::{ManualClock, SimClock};
pub use config::{ConfigError, Delays, Files, GuestModel, HostModel, Manners, SimConfig, UnknownBridges};
pub use control::{Devices, Foreign};
pub use delay::{Delay, ParseDelayError};
pub use fault::{EventName, Failure, FaultRule, ParseFaultError};
pub use guest_agent::GuestAgentManners;
pub use management::NewWay;
pub use operation::Operation;
pub use port::unclaimed_address;
pub use system::{IMAGE, NewSystem};
pub use watchdog::SeenWatchdog;

use fault::Verdict;
use world::{Begun, Call, World};

/// One simulated host. Dropping it ends its tasks; calls under way end with
/// [`HypervisorError::Closed`].
pub struct SimHypervisor {
    inner: Arc<Inner>,
}

struct Inner {
    clock: SimClock,
    /// The calendar at the clock's zero.
    epoch: OffsetDateTime,
    world: Mutex<World>,
    /// Wakes the driver when something is due earlier than it knew.
    sooner: Notify,
    /// Calls that wait are due at once.
    hurry: Notify,
    /// See [`SimHypervisor::streams_die_with_caller`].
    streams_die: AtomicBool,
    tasks: TaskSet,
    watchdog: Arc<watchdog::Timer>,
    /// Where the host was made: who calls it may be killed with all that runs there, and the host goes on.
    home: Handle,
}

impl SimHypervisor {
    pub fn builder() -> SimBuilder {
        SimBuilder::default()
    }

    /// Ends the host's tasks and waits for them. A host that was built with somebody's [`TaskSet`] ends with
    /// that: shut the set down instead.
    pub async fn shut_down(&self, patience: Duration) -> Result<(), Stragglers> {
        self.inner.tasks.shut_down(patience).await
    }
}

impl Drop for SimHypervisor {
    fn drop(&mut self) {
        self.inner.tasks.cancel();
    }
}

impl std::fmt::Debug for SimHypervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (hostname, domains) = self.inner.with(|world, _| (world.hostname.clone(), world.domains.len()));
        f.debug_struct("SimHypervisor").field("hostname", &hostname).field("domains", &domains).finish()
    }
}

impl Inner {
    /// Looks at or changes the world as it is now.
    fn with<T>(&self, look: impl FnOnce(&mut World, Duration) -> T) -> T {
        let mut world = self.world();
        let at = world.time(self.clock.now());
        world.settle(at);
        let due = world.next_due();
        let out = look(&mut world, at);
        if world.next_due() != due {
            self.sooner.notify_one();
        }
        out
    }

    fn world(&self) -> MutexGuard<'_, World> {
        // A panic under the lock is a bug of the simulator; the world is still the best there is.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets guests act when nobody calls.
    async fn drive(&self) {
        let cancelled = self.tasks.token();
        loop {
            let due = self.with(|world, _| world.next_due());
            tokio::select! {
                () = cancelled.cancelled() => return,
                () = self.sooner.notified() => {}
                () = self.clock.sleep_until(due) => {}
            }
        }
    }

    /// Runs `work` to its end whether or not the caller waits for it.
    async fn carry_out<T: Send + 'static>(
        &self,
        name: &str,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let cancelled = self.tasks.token();
        if cancelled.is_cancelled() {
            return Err(HypervisorError::Closed);
        }
        let (answer, answered) = oneshot::channel();
        let carried_out = async move {
            tokio::select! {
                () = cancelled.cancelled() => {}
                done = work => {
                    // An error says that the caller went away, which changes nothing.
                    let _nobody_waits = answer.send(done);
                }
            }
        };
        {
            let _at_home = self.home.enter();
            self.tasks.spawn(name, carried_out);
        }
        answered.await.unwrap_or(Err(HypervisorError::Closed))
    }

    /// Waits as long as a call takes.
    async fn until_due(&self, begun: Begun) {
        let hurry = self.hurry.notified();
        tokio::pin!(hurry);
        // Before the look, so that a word right after it is not missed.
        hurry.as_mut().enable();
        if self.world().hurried == begun.hurried {
            tokio::select! {
                () = self.clock.sleep_until(Some(begun.due)) => {}
                () = hurry => {}
            }
        }
    }

    /// One call from its beginning to its effect: counted, judged, delayed, done.
    async fn perform<T: Send + 'static>(
        self: &Arc<Self>,
        call: Call,
        effect: impl FnOnce(&mut World, Duration) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (begun, at) = self.with(|world, at| (world.begin(&call, at), at));
        if begun.due <= at {
            return self.finish(&call, begun, effect);
        }
        let inner = Arc::clone(self);
        let name = call.operation.as_str();
        self.carry_out(name, async move {
            inner.until_due(begun).await;
            inner.finish(&call, begun, effect)
        })
        .await
    }

    fn finish<T>(
        &self,
        call: &Call,
        begun: Begun,
        effect: impl FnOnce(&mut World, Duration) -> Result<T>,
    ) -> Result<T> {
        if self.tasks.token().is_cancelled() {
            return Err(HypervisorError::Closed);
        }
        self.with(|world, at| {
            world.check(begun)?;
            match begun.verdict {
                Verdict::Pass => effect(world, at),
                Verdict::Fail(failure) => Err(world.error(failure, call)),
                Verdict::Spoil(failure) => effect(world, at).and_then(|_| Err(world.error(failure, call))),
            }
        })
    }
}
