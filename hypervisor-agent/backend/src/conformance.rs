//! One suite for every back-end: each promise of [`crate::Hypervisor`] is a named case.
//!
//! A back-end gives a [`Fixture`] for one kind of guest and runs [`cases`] one by one or by name. A case makes
//! its own domains, waits for conditions and never for a fixed time, and takes away what it made, whatever
//! happened. What a fixture cannot do (no bridge, no second kind of guest) skips a case and says so; it never
//! passes silently, and [`may_skip`] says which may. Cases may run beside other domains of the host: they look
//! only at their own, except for those about memory that does not suffice, which want the host for themselves.
//!
//! On a crash half way, domains whose names the fixture made are left: destroy them by name.

mod create;
mod devices;
mod events;
mod life;
mod listing;
mod memory;
pub mod proof;
mod scene;
mod streams;

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use xenith_common_ids::DomId;
use xenith_hypervisor_agent_types::{DomainSpec, PlatformKind};

use crate::Hypervisor;
use scene::{Halt, Outcome, Scene};

/// Whether domains cost minutes or microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Real,
    Simulated,
}

/// Why a fixture did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// It has no such thing; the case is skipped.
    Cannot(String),
    /// It should have worked; the case fails.
    Broke(String),
}

pub type Ability<T> = Result<T, Lack>;

/// What the suite needs from a back-end under test, for one kind of guest.
#[async_trait]
pub trait Fixture: Send + Sync {
    fn hypervisor(&self) -> Arc<dyn Hypervisor>;

    fn backend(&self) -> Backend;

    /// A spec that boots a guest which answers requests to shut down: fresh identity and name, no disks but
    /// what it boots from, no NICs, `memory.max` above `memory.target` and `vcpus.max` above `vcpus.online`
    /// where that kind of guest can change them. Graphics where that kind can have it.
    fn spec(&self) -> DomainSpec;

    /// Returns when the guest answers requests. Takes at most [`Self::patience`]. Also asked of guests that
    /// were resumed: what they wrote into xenstore when they booted is not there any more.
    async fn booted(&self, domid: DomId) -> Ability<()>;

    /// Makes the guest die as by a kernel's panic.
    async fn crash_guest(&self, domid: DomId) -> Ability<()>;

    /// A running domain that the back-end did not make, with its name. The suite destroys it.
    async fn foreign_domain(&self) -> Ability<(DomId, String)>;

    /// The path of a new raw image or block device of this size.
    async fn disk(&self, bytes: u64) -> Ability<PathBuf>;

    /// Weight and cap of the domain's share of the CPUs, read past the back-end under test. A cap of 0 is none.
    async fn scheduling(&self, domid: DomId) -> Ability<(u16, u16)>;

    /// The image in the domain's CD drive, read past the back-end under test.
    async fn medium(&self, domid: DomId) -> Ability<Option<PathBuf>>;

    /// A bridge that exists.
    fn bridge(&self) -> Ability<String>;

    /// A folder with room for a guest's memory.
    fn scratch(&self) -> PathBuf;

    /// How long one condition may take: minutes on emulated hardware.
    fn patience(&self) -> Duration;

    /// How long to wait between two looks.
    fn pace(&self) -> Duration;
}

type CaseFuture<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// One promise.
#[derive(Clone, Copy)]
pub struct Case {
    /// Unique; what `run` is asked for.
    pub name: &'static str,
    /// The promise, for people.
    pub promise: &'static str,
    body: for<'a> fn(&'a Scene<'a>) -> CaseFuture<'a>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Every module's table has the same shape: `name: "promise"`, the function having the case's name.
macro_rules! promises {
    ($($name:ident: $promise:literal;)*) => {
        pub(super) const CASES: &[$crate::conformance::Case] = &[$($crate::conformance::Case {
            name: stringify!($name),
            promise: $promise,
            body: |scene| Box::pin($name(scene)),
        }),*];
    };
}
use promises;

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Kept,
    Skipped(String),
    Broken(String),
}

#[derive(Debug, Clone)]
pub struct Report {
    pub case: Case,
    pub verdict: Verdict,
    pub took: Duration,
}

impl fmt::Display for Report {
    /// One line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, verdict, took } = self;
        let seconds = took.as_secs_f64();
        match verdict {
            Verdict::Kept => write!(f, "kept    {} ({seconds:.2}s)", case.name),
            Verdict::Skipped(why) => write!(f, "skipped {}: {why}", case.name),
            Verdict::Broken(how) => {
                write!(f, "BROKEN  {} ({seconds:.2}s): {how} [promised: {}]", case.name, case.promise)
            }
        }
    }
}

/// A case may take this many times the fixture's patience before it is given up: the longest waits for six
/// conditions, and calls have no deadline of their own.
const PATIENCES_PER_CASE: u32 = 10;

/// All cases, quick ones first.
#[must_use]
pub fn cases() -> Vec<Case> {
    [listing::CASES, create::CASES, life::CASES, events::CASES, memory::CASES, devices::CASES, streams::CASES]
        .concat()
}

/// The case of this name.
#[must_use]
pub fn case(name: &str) -> Option<Case> {
    cases().into_iter().find(|case| case.name == name)
}

/// Cases that do not apply to these kinds of guests, whatever the back-end.
const NOT_FOR: &[(&str, &[PlatformKind])] = &[
    ("cd_in_and_out", &[PlatformKind::Pv, PlatformKind::Pvh]),
    ("missing_kernel_is_refused", &[PlatformKind::Hvm]),
    ("vnc_console", &[PlatformKind::Pv, PlatformKind::Pvh]),
];

/// Cases that take too long on a real host.
const NOT_REAL: &[&str] = &["late_subscriber_lists_again"];

/// Cases that a real PV guest is skipped for: a Xen without shadow paging, as Debian's, cannot tell which pages one writes.
const NOT_REAL_PV: &[&str] = &["live_stream_through_a_pipe", "suspend_live_and_resume"];

/// Whether it is no lack of a back-end that this case was skipped. Any other one that is skipped was not tried, which
/// whoever runs the suite counts as broken.
#[must_use]
pub fn may_skip(case: &str, backend: Backend, kind: PlatformKind) -> bool {
    let not_for = NOT_FOR.iter().any(|(name, kinds)| *name == case && kinds.contains(&kind));
    let real = backend == Backend::Real;
    // No fixture has a disk that a real HVM guest boots from, so hardly anything can be asked of one.
    let not_live = kind == PlatformKind::Pv && NOT_REAL_PV.contains(&case);
    not_for || (real && (NOT_REAL.contains(&case) || not_live || kind == PlatformKind::Hvm))
}

/// Runs one case and takes away what it made.
pub async fn run(case: Case, fixture: &dyn Fixture) -> Report {
    let began = tokio::time::Instant::now();
    let scene = Scene::new(fixture);
    let limit = fixture.patience() * PATIENCES_PER_CASE;
    let outcome = match tokio::time::timeout(limit, (case.body)(&scene)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Halt::Broken(format!("it was not over after {}s", limit.as_secs()))),
    };
    let tidied = match tokio::time::timeout(limit, scene.tidy()).await {
        Ok(tidied) => tidied,
        Err(_) => Err(Halt::Broken("what it made could not be taken away in time".to_owned())),
    };
    let verdict = match (outcome, tidied) {
        (Err(Halt::Broken(how)), _) | (_, Err(Halt::Broken(how))) => Verdict::Broken(how),
        (Err(Halt::Skip(why)), _) | (_, Err(Halt::Skip(why))) => Verdict::Skipped(why),
        (Ok(()), Ok(())) => Verdict::Kept,
    };
    Report { case, verdict, took: began.elapsed() }
}
