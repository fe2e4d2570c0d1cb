//! What a case works with: the back-end, and a memory of what must be taken away afterwards.
//!
//! Everything made through a scene is remembered before the call that makes it returns, by identity: a create
//! that failed and yet left a domain is found and taken away too.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use xenith_common_ids::{DomId, IncarnationId};
use xenith_hypervisor_agent_types::{DomainInfo, DomainSpec, DomainStatus};

use super::{Fixture, Lack};
use crate::{DomainEventKind, DomainEvents, Hypervisor, HypervisorError, Result, Start};

/// Why a case does not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Halt {
    Skip(String),
    Broken(String),
}

pub(super) type Outcome<T = ()> = std::result::Result<T, Halt>;

impl From<Lack> for Halt {
    fn from(lack: Lack) -> Self {
        match lack {
            Lack::Cannot(why) => Self::Skip(why),
            Lack::Broke(how) => Self::Broken(format!("the fixture: {how}")),
        }
    }
}

/// Ends the case with [`Halt::Broken`] unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::conformance::scene::Halt::Broken(format!($($message)+)));
        }
    };
}
pub(super) use ensure;

/// Says what was tried when a call fails that must not.
pub(super) trait During<T> {
    fn during(self, what: &str) -> Outcome<T>;

    /// The call must fail, and with an error of this shape.
    fn refused(
        self,
        what: &str,
        expected: &str,
        fits: fn(&HypervisorError) -> bool,
    ) -> Outcome<HypervisorError>;

    fn refused_no_such_domain(self, what: &str) -> Outcome<HypervisorError>
    where
        Self: Sized,
    {
        self.refused(what, "NoSuchDomain", |error| matches!(error, HypervisorError::NoSuchDomain(_)))
    }
}

impl<T> During<T> for Result<T> {
    fn during(self, what: &str) -> Outcome<T> {
        self.map_err(|error| Halt::Broken(format!("{what}: {error}")))
    }

    fn refused(
        self,
        what: &str,
        expected: &str,
        fits: fn(&HypervisorError) -> bool,
    ) -> Outcome<HypervisorError> {
        match self {
            Err(error) if fits(&error) => Ok(error),
            Err(error) => Err(Halt::Broken(format!("{what}: expected {expected}, got {error:?}"))),
            Ok(_) => Err(Halt::Broken(format!("{what}: expected {expected}, but it succeeded"))),
        }
    }
}

pub(super) struct Scene<'a> {
    pub fixture: &'a dyn Fixture,
    pub hv: Arc<dyn Hypervisor>,
    incarnations: Mutex<Vec<IncarnationId>>,
    foreign: Mutex<Vec<DomId>>,
    files: Mutex<Vec<PathBuf>>,
}

fn push<T>(list: &Mutex<Vec<T>>, item: T) {
    list.lock().unwrap_or_else(PoisonError::into_inner).push(item);
}

fn taken<T>(list: &Mutex<Vec<T>>) -> Vec<T> {
    std::mem::take(&mut *list.lock().unwrap_or_else(PoisonError::into_inner))
}

impl<'a> Scene<'a> {
    pub(super) fn new(fixture: &'a dyn Fixture) -> Self {
        Self {
            hv: fixture.hypervisor(),
            fixture,
            incarnations: Mutex::default(),
            foreign: Mutex::default(),
            files: Mutex::default(),
        }
    }

    /// A fresh spec whose domain is taken away at the end.
    pub(super) fn spec(&self) -> DomainSpec {
        let spec = self.fixture.spec();
        push(&self.incarnations, spec.identity.incarnation);
        spec
    }

    pub(super) async fn create(&self, spec: &DomainSpec, start: Start) -> Outcome<DomId> {
        self.hv.create(spec, start).await.during(&format!("creating {}", spec.name))
    }

    /// A fresh domain, running or paused.
    pub(super) async fn domain(&self, start: Start) -> Outcome<(DomId, DomainSpec)> {
        let spec = self.spec();
        Ok((self.create(&spec, start).await?, spec))
    }

    /// A fresh domain whose guest answers.
    pub(super) async fn booted(&self) -> Outcome<(DomId, DomainSpec)> {
        let (domid, spec) = self.domain(Start::Running).await?;
        self.fixture.booted(domid).await?;
        Ok((domid, spec))
    }

    pub(super) async fn foreign(&self) -> Outcome<(DomId, String)> {
        let (domid, name) = self.fixture.foreign_domain().await?;
        push(&self.foreign, domid);
        Ok((domid, name))
    }

    pub(super) async fn info(&self, domid: DomId) -> Outcome<DomainInfo> {
        self.hv.domain(domid).await.during("looking at a domain")
    }

    pub(super) async fn status(&self, domid: DomId) -> Outcome<DomainStatus> {
        Ok(self.info(domid).await?.status)
    }

    pub(super) async fn listed(&self, domid: DomId) -> Outcome<Option<DomainInfo>> {
        let domains = self.hv.domains().await.during("listing domains")?;
        Ok(domains.into_iter().find(|info| info.domid == domid))
    }

    /// Nothing of this spec is on the host.
    pub(super) async fn left_nothing(&self, spec: &DomainSpec, after: &str) -> Outcome {
        let domains = self.hv.domains().await.during("listing domains")?;
        let left = domains
            .iter()
            .find(|info| info.identity == Some(spec.identity) || info.name == spec.name.as_str());
        ensure!(left.is_none(), "{after} left a domain behind: {left:?}");
        Ok(())
    }

    /// Waits until the domain is in this status.
    pub(super) async fn reaches(&self, domid: DomId, status: DomainStatus) -> Outcome {
        let mut wait = self.wait(format!("domain {domid} to be {status:?}"));
        while self.status(domid).await? != status {
            wait.tick().await?;
        }
        Ok(())
    }

    pub(super) fn wait(&self, what: impl Into<String>) -> Wait {
        Wait {
            what: what.into(),
            deadline: Instant::now() + self.fixture.patience(),
            patience: self.fixture.patience(),
            pace: self.fixture.pace(),
        }
    }

    /// Waits for this event of this domain. A subscriber that was told to list again may have missed it,
    /// which is allowed.
    pub(super) async fn event(
        &self,
        events: &mut DomainEvents,
        domid: DomId,
        kind: DomainEventKind,
    ) -> Outcome {
        let patience = self.fixture.patience();
        let seen = async {
            while let Some(event) = events.next().await {
                if event.kind == DomainEventKind::Resync || (event.domid == domid && event.kind == kind) {
                    return true;
                }
            }
            false
        };
        match timeout(patience, seen).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Halt::Broken("the events ended while the back-end was there".to_owned())),
            Err(_) => {
                let waited = patience.as_secs();
                Err(Halt::Broken(format!("no event {kind:?} of domain {domid} within {waited}s")))
            }
        }
    }

    /// A path for a stream, removed at the end.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        let path = self.fixture.scratch().join(format!("{}-{name}", IncarnationId::new()));
        push(&self.files, path.clone());
        path
    }

    /// Destroys and removes all that the case made.
    pub(super) async fn tidy(&self) -> Outcome {
        let ours = taken(&self.incarnations);
        let foreign = taken(&self.foreign);
        for file in taken(&self.files) {
            // A case that failed early never wrote it.
            let _never_written = std::fs::remove_file(file);
        }
        let is_ours = |info: &DomainInfo| {
            foreign.contains(&info.domid)
                || info.identity.is_some_and(|identity| ours.contains(&identity.incarnation))
        };
        for info in
            self.hv.domains().await.during("listing what is left")?.iter().filter(|info| is_ours(info))
        {
            match self.hv.destroy(info.domid).await {
                Ok(()) | Err(HypervisorError::NoSuchDomain(_)) => {}
                Err(error) => return Err(Halt::Broken(format!("taking {} away: {error}", info.name))),
            }
        }
        Ok(())
    }
}

/// A condition that is looked at again and again.
pub(super) struct Wait {
    what: String,
    deadline: Instant,
    patience: Duration,
    pace: Duration,
}

impl Wait {
    /// Lets some time pass, unless all of it has.
    pub(super) async fn tick(&mut self) -> Outcome {
        let waited = self.patience.as_secs();
        ensure!(Instant::now() < self.deadline, "waited {waited}s for {}", self.what);
        sleep(self.pace).await;
        Ok(())
    }
}

/// A descriptor to write a stream to.
pub(super) fn to_file(path: &PathBuf) -> Outcome<OwnedFd> {
    let file = File::create(path).map_err(|error| Halt::Broken(format!("the scratch folder: {error}")))?;
    Ok(file.into())
}

pub(super) fn from_file(path: &PathBuf) -> Outcome<OwnedFd> {
    let file = File::open(path).map_err(|error| Halt::Broken(format!("the stream: {error}")))?;
    Ok(file.into())
}
