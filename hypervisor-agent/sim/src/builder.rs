//! Making a simulated host.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use time::OffsetDateTime;
use time::macros::datetime;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use xenith_common_tasks::TaskSet;
use xenith_common_units::MemoryMiB;

use crate::world::World;
use crate::{Delay, FaultRule, Inner, Manners, ManualClock, Operation, SimClock, SimConfig, SimHypervisor};

/// Starts from [`SimConfig::default`]: no delays, no faults, a 64 GiB host.
#[derive(Debug, Default)]
#[must_use]
pub struct SimBuilder {
    config: Arc<SimConfig>,
    clock: Option<(SimClock, OffsetDateTime)>,
    hostname: Option<String>,
    seed: Option<u64>,
    tasks: Option<TaskSet>,
}

impl SimBuilder {
    /// Replaces all that was set before but name, seed and clock. An `Arc` is shared by a fleet, not copied.
    pub fn config(mut self, config: impl Into<Arc<SimConfig>>) -> Self {
        self.config = config.into();
        self
    }

    /// Changes anything of the configuration.
    pub fn with(mut self, change: impl FnOnce(&mut SimConfig)) -> Self {
        change(Arc::make_mut(&mut self.config));
        self
    }

    pub fn memory(self, memory: MemoryMiB) -> Self {
        self.with(|config| config.host.memory = memory)
    }

    pub fn delay(self, operation: Operation, delay: impl Into<Delay>) -> Self {
        self.with(|config| config.delays.set(operation, delay))
    }

    pub fn boot(self, delay: impl Into<Delay>) -> Self {
        self.with(|config| config.guest.boot = delay.into())
    }

    pub fn guest_shutdown(self, delay: impl Into<Delay>) -> Self {
        self.with(|config| config.guest.shutdown = delay.into())
    }

    /// Guests whose name matches `pattern` behave like this.
    pub fn manners(self, pattern: &str, manners: Manners) -> Self {
        self.with(|config| {
            config.guest.manners.insert(pattern.to_owned(), manners);
        })
    }

    pub fn fault(self, rule: FaultRule) -> Self {
        self.with(|config| config.faults.push(rule))
    }

    /// This host's own seed, where many share a configuration.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    pub fn hostname(mut self, hostname: impl Into<String>) -> Self {
        self.hostname = Some(hostname.into());
        self
    }

    /// Time that only tests move; the calendar begins in 2026.
    pub fn manual_clock(mut self, clock: &ManualClock) -> Self {
        self.clock = Some((clock.clock(), datetime!(2026-01-01 00:00 UTC)));
        self
    }

    /// Ends the host's tasks together with these.
    pub fn tasks(mut self, tasks: &TaskSet) -> Self {
        self.tasks = Some(tasks.child());
        self
    }

    /// Must be called inside a tokio runtime: the host's driver is a task.
    #[must_use]
    pub fn build(self) -> Arc<SimHypervisor> {
        let (clock, epoch) = self.clock.unwrap_or_else(|| (SimClock::real(), OffsetDateTime::now_utc()));
        let hostname = self.hostname.unwrap_or_else(|| self.config.host.hostname.clone());
        let seed = self.seed.unwrap_or(self.config.seed);
        let inner = Arc::new(Inner {
            clock,
            epoch,
            world: Mutex::new(World::new(self.config, hostname, seed)),
            sooner: Notify::new(),
            hurry: Notify::new(),
            streams_die: AtomicBool::new(false),
            tasks: self.tasks.unwrap_or_default(),
            watchdog: Arc::default(),
            home: Handle::current(),
        });
        let driven = Arc::clone(&inner);
        inner.tasks.spawn("sim-driver", async move { driven.drive().await });
        Arc::new(SimHypervisor { inner })
    }
}
