//! The system of this host: a new one is fetched and verified, put into the slot that does not run, and started. And the end
//! of a boot, ordered: the host starts anew as it is, or is switched off.
//!
//! What always holds: nothing is put anywhere whose signature was not verified with the key that the running system came
//! with, and whose hash is not the signed one. The running system is not touched. One at a time: a lock is held over a
//! fetch, a fill and the order to restart.
//!
//! A crash leaves a part of a download, which the next fetch takes up, or half a system in the slot that does not run,
//! which the next fill writes anew. Whether a restart was ordered is told by the boot: who orders it names the one that it
//! is to end.

mod image;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use xenith_common_text::counted;
use xenith_hypervisor_agent_backend::{Hypervisor, HypervisorError, Machine, SystemSlots};
use xenith_hypervisor_agent_types::system::{
    HostSystem, PackagesDone, SystemCommand, SystemReply, SystemSlot,
};
use xenith_hypervisor_agent_types::{Fault, FaultReason};

use crate::fault::from_hypervisor;
use crate::progress::Progress;

/// How soon a fill notices that it is not wanted any more.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a host is taken for one that goes down. Units that hang end sooner; after that the order was lost, and whoever
/// asks has to be told that the host is up, or may give the order again.
const GOES_DOWN_WITHIN: Duration = Duration::from_secs(900);
/// Guests that are named where they are in the way.
const NAMED: usize = 5;

/// See the module.
pub struct Systems {
    slots: Arc<dyn SystemSlots>,
    machine: Arc<dyn Machine>,
    hypervisor: Arc<dyn Hypervisor>,
    /// What was fetched.
    folder: PathBuf,
    turn: Mutex<()>,
    /// The boot that was told to end, and when.
    ending: std::sync::Mutex<Option<(String, Instant)>>,
}

/// How a boot ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Restart,
    PowerOff,
}

impl std::fmt::Debug for Systems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Systems").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Systems {
    /// `state` is the agent's folder.
    #[must_use]
    pub fn new(
        (slots, machine): (Arc<dyn SystemSlots>, Arc<dyn Machine>),
        hypervisor: Arc<dyn Hypervisor>,
        state: &Path,
    ) -> Arc<Self> {
        let folder = state.join("system-image");
        Arc::new(Self {
            slots,
            machine,
            hypervisor,
            folder,
            turn: Mutex::default(),
            ending: std::sync::Mutex::default(),
        })
    }

    pub async fn execute(
        &self,
        command: SystemCommand,
        progress: &Arc<Progress>,
    ) -> Result<SystemReply, Fault> {
        match command {
            SystemCommand::Look => self.look().await.map(SystemReply::System),
            SystemCommand::Fetch { url } => {
                self.fetch(url, Arc::clone(progress)).await.map(|version| SystemReply::Fetched { version })
            }
            SystemCommand::Fill => self.fill(progress).await.map(|()| SystemReply::Nothing),
            SystemCommand::Drop => self.drop_image().await.map(|()| SystemReply::Nothing),
            SystemCommand::Boot => self.boot().await.map(|boot| SystemReply::Boot { boot }),
            SystemCommand::Restart { boot } => {
                self.end(&boot, Ending::Restart).await.map(|()| SystemReply::Nothing)
            }
            SystemCommand::PowerOff { boot } => {
                self.end(&boot, Ending::PowerOff).await.map(|()| SystemReply::Nothing)
            }
            SystemCommand::UpdatePackages => self.update(progress).await.map(SystemReply::Packages),
            SystemCommand::Start { slot, boot } => {
                self.start(slot, &boot).await.map(|()| SystemReply::Nothing)
            }
        }
    }

    /// Refused from the order to restart until the host has done so: what it says of itself is over.
    async fn look(&self) -> Result<HostSystem, Fault> {
        let system = self.slots.look().await.map_err(|error| from_hypervisor(&error))?;
        self.not_ending(&system.boot)?;
        Ok(system)
    }

    /// As [`Self::look`], of any host.
    async fn boot(&self) -> Result<String, Fault> {
        let boot = self.machine.boot().await.map_err(|error| from_hypervisor(&error))?;
        self.not_ending(&boot)?;
        Ok(boot)
    }

    fn not_ending(&self, boot: &str) -> Result<(), Fault> {
        let ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        if ending.as_ref().is_some_and(|(told, at)| told == boot && at.elapsed() < GOES_DOWN_WITHIN) {
            return Err(Fault::new(FaultReason::NotReady, "the host is going down"));
        }
        Ok(())
    }

    async fn end(&self, boot: &str, how: Ending) -> Result<(), Fault> {
        let _turn = self.turn.lock().await;
        // It is going down already.
        if self.not_ending(boot).is_err() || self.boot().await? != boot {
            return Ok(());
        }
        self.nobody_runs().await?;
        tracing::warn!(?how, "the host goes down, as it was told to");
        self.note_ending(Some(boot.to_owned()));
        let ended = match how {
            Ending::Restart => self.machine.restart().await,
            Ending::PowerOff => self.machine.power_off().await,
        };
        if ended.is_err() {
            self.note_ending(None);
        }
        ended.map_err(|error| from_hypervisor(&error))
    }

    /// Cancelled, it is waited for no more. It goes on: packages that are half there are worse than new ones.
    async fn update(&self, progress: &Progress) -> Result<PackagesDone, Fault> {
        let _turn = self.turn.lock().await;
        let mut work = self.machine.update_packages();
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                done = &mut work => return done.map_err(|error| from_hypervisor(&error)),
                _ = look.tick() => {
                    if progress.check().is_err() {
                        let message = "nobody waits for the packages any more; they go on being updated";
                        return Err(Fault::new(FaultReason::WrongState, message));
                    }
                }
            }
        }
    }

    async fn fetch(&self, url: String, progress: Arc<Progress>) -> Result<String, Fault> {
        let key = self.slots.image_key().await.map_err(|error| from_hypervisor(&error))?;
        let _turn = self.turn.lock().await;
        let folder = self.folder.clone();
        blocking(move || image::fetch(&url, &folder, &key, &progress)).await
    }

    async fn fill(&self, progress: &Progress) -> Result<(), Fault> {
        let _turn = self.turn.lock().await;
        if !image::is_whole(&self.folder) {
            return Err(Fault::new(
                FaultReason::WrongState,
                "no image was fetched that could be put into a slot",
            ));
        }
        let hypervisor = |error: HypervisorError| from_hypervisor(&error);
        // Of an agent before this one.
        self.slots.stop_filling().await.map_err(hypervisor)?;
        let told = |percent: u8| progress.set(u64::from(percent), 100);
        let mut work = self.slots.fill(&self.folder, &told);
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                done = &mut work => return done.map_err(hypervisor),
                _ = look.tick() => {
                    if progress.check().is_err() {
                        break;
                    }
                }
            }
        }
        drop(work);
        self.slots.stop_filling().await.map_err(hypervisor)?;
        Err(Fault::new(FaultReason::WrongState, "writing the other system was cancelled"))
    }

    async fn drop_image(&self) -> Result<(), Fault> {
        let _turn = self.turn.lock().await;
        let folder = self.folder.clone();
        blocking(move || image::forget(&folder)).await
    }

    async fn start(&self, slot: SystemSlot, boot: &str) -> Result<(), Fault> {
        let _turn = self.turn.lock().await;
        let system = self.look().await?;
        if system.boot != boot {
            return Ok(());
        }
        if system.slot != slot {
            self.nobody_runs().await?;
            tracing::warn!(from = %system.slot, to = %slot, "the host starts anew, into its other system");
            self.note_ending(Some(system.boot));
        }
        let started = self.slots.start(slot).await;
        if started.is_err() {
            self.note_ending(None);
        }
        started.map_err(|error| from_hypervisor(&error))
    }

    fn note_ending(&self, boot: Option<String>) {
        let told = boot.map(|boot| (boot, Instant::now()));
        *self.ending.lock().unwrap_or_else(PoisonError::into_inner) = told;
    }

    /// A restart would be a power cut to them.
    async fn nobody_runs(&self) -> Result<(), Fault> {
        let domains = self.hypervisor.domains().await.map_err(|error| from_hypervisor(&error))?;
        if domains.is_empty() {
            return Ok(());
        }
        let (count, guests) = (domains.len(), counted(domains.len(), "guest"));
        let named: Vec<_> = domains.iter().take(NAMED).map(|domain| domain.name.as_str()).collect();
        let (named, more) = (named.join(", "), if count > NAMED { ", …" } else { "" });
        let message = format!(
            "this host would start anew under {guests} ({named}{more}); move everything away, or shut it down"
        );
        Err(Fault::new(FaultReason::WrongState, message))
    }
}

async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    tokio::task::spawn_blocking(call).await.map_err(|error| Fault::new(FaultReason::Internal, error))?
}

#[cfg(test)]
mod tests {
    use xenith_hypervisor_agent_sim::SimHypervisor;

    use super::*;

    #[tokio::test]
    async fn a_host_that_did_not_go_down_can_be_told_again() {
        let sim = SimHypervisor::builder().build();
        let (slots, machine): (Arc<dyn SystemSlots>, Arc<dyn Machine>) = (sim.clone(), sim.clone());
        let systems = Systems::new((slots, machine), sim.clone(), Path::new("/nowhere"));
        let boot = systems.boot().await.unwrap();
        systems.note_ending(Some(boot.clone()));
        assert_eq!(systems.boot().await.unwrap_err().reason, FaultReason::NotReady);
        systems.end(&boot, Ending::PowerOff).await.unwrap();
        assert!(!sim.is_off(), "it goes down already");

        let Some(before) = Instant::now().checked_sub(GOES_DOWN_WITHIN) else { return };
        *systems.ending.lock().unwrap() = Some((boot.clone(), before));
        assert_eq!(systems.boot().await.unwrap(), boot, "it is up");
        systems.end(&boot, Ending::PowerOff).await.unwrap();
        assert!(sim.is_off());
    }
}
