//! The task that holds one guest, from the question whether it can be frozen to its word that it is thawed.

use std::path::{Path, PathBuf};

use tokio::sync::oneshot;
use tokio::time::Instant;
use xenith_common_tasks::Backoff;
use xenith_hypervisor_agent_backend::HypervisorError;
use xenith_hypervisor_agent_types::DomainStatus;

use super::link::{Limits, Link, LinkError};
use super::{GuestAgents, Held, QuiesceError};

pub(super) struct Hold {
    pub(super) agents: GuestAgents,
    pub(super) held: Held,
}

type Told = oneshot::Sender<Result<(), QuiesceError>>;

/// What stands between a guest and the end of its hold.
enum Guest {
    At(PathBuf),
    /// Its memory is in a file: what is frozen there is frozen when it comes back.
    Suspended,
    Gone,
    /// Nobody knows just now.
    Unknown,
}

/// How a freeze that was ordered went on.
enum Stood {
    /// Until the caller was done, or gone.
    Released,
    Not(QuiesceError),
}

impl Hold {
    /// Freezes, waits, thaws. `began` hears whether the guest stands, `ended` whether it stood until `released`.
    pub(super) async fn freeze(
        self,
        path: PathBuf,
        began: Told,
        released: oneshot::Receiver<()>,
        ended: Told,
    ) {
        let mut link = match self.ready(&path).await {
            Ok(link) => link,
            Err(Unready::NotTouched(why)) => {
                drop(self.held);
                let _gone = began.send(Err(why));
                return;
            }
            Err(Unready::WasFrozen) => {
                let _gone = began.send(Err(QuiesceError::WasFrozen));
                return self.thaw().await;
            }
        };
        let (stood, told) = self.stand(&mut link, began, released).await;
        let thawed = self.thaw_over(&mut link).await;
        let is_thawed = thawed.is_ok();
        let outcome = match (stood, thawed) {
            (Stood::Not(why), _) => Err(why),
            (Stood::Released, Ok(0)) => Err(QuiesceError::ThawedItself),
            (Stood::Released, Ok(_)) => Ok(()),
            (Stood::Released, Err(why)) => Err(QuiesceError::NotThawed(why)),
        };
        drop(link);
        let tell = |result| {
            // A freeze that failed is told to who waits for its beginning.
            let _gone = told.unwrap_or(ended).send(result);
        };
        if is_thawed {
            self.let_go().await;
            tell(outcome);
        } else {
            tell(outcome);
            self.thaw().await;
        }
    }

    /// A guest that is thawed and can be frozen, with a note that it may be.
    async fn ready(&self, path: &Path) -> Result<Link, Unready> {
        let not_touched = |why: QuiesceError| Unready::NotTouched(why);
        let asked = tokio::select! {
            () = self.held.over.cancelled() => return Err(not_touched(QuiesceError::Stopping)),
            asked = ask(path, self.agents.limits) => asked,
        };
        let (link, was_frozen) = asked.map_err(|error| not_touched(error.into()))?;
        let (notes, vm) = (self.agents.notes.clone(), self.held.vm);
        let noted = tokio::task::spawn_blocking(move || notes.add(vm)).await;
        noted
            .unwrap_or_else(|error| Err(std::io::Error::other(error)))
            .map_err(|e| not_touched(QuiesceError::Note(e)))?;
        if was_frozen { Err(Unready::WasFrozen) } else { Ok(link) }
    }

    /// From the order to freeze until the order to thaw is due. Gives `began` back when it heard nothing yet.
    async fn stand(
        &self,
        link: &mut Link,
        began: Told,
        mut released: oneshot::Receiver<()>,
    ) -> (Stood, Option<Told>) {
        let stopping = &self.held.over;
        let until = Instant::now() + self.agents.limits.frozen;
        let froze = tokio::select! {
            // So that nothing is frozen for a caller that has gone already.
            biased;
            _ = &mut released => return (Stood::Released, Some(began)),
            () = stopping.cancelled() => return (Stood::Not(QuiesceError::Stopping), Some(began)),
            froze = link.freeze() => froze,
        };
        match froze {
            Ok(0) => return (Stood::Not(QuiesceError::NothingFroze), Some(began)),
            Ok(_) => {}
            Err(LinkError::Silent) => {
                let late = QuiesceError::NotInTime(self.agents.limits.freeze);
                return (Stood::Not(late), Some(began));
            }
            Err(why) => return (Stood::Not(why.into()), Some(began)),
        }
        let _gone = began.send(Ok(()));
        let stood = tokio::select! {
            _ = &mut released => Stood::Released,
            () = tokio::time::sleep_until(until) => Stood::Not(QuiesceError::TimeUp),
            () = stopping.cancelled() => Stood::Not(QuiesceError::Stopping),
        };
        (stood, None)
    }

    /// The order is in the channel at once; a stopping agent waits for the answer only shortly.
    async fn thaw_over(&self, link: &mut Link) -> Result<u64, LinkError> {
        let (over, limit) = (&self.held.over, self.agents.limits.stopping);
        let stopping = async {
            over.cancelled().await;
            tokio::time::sleep(limit).await;
        };
        tokio::select! {
            thawed = link.thaw() => thawed,
            () = stopping => Err(LinkError::Silent),
        }
    }

    /// The guest is thawed, or there is none any more.
    async fn let_go(self) {
        self.agents.remove_note(self.held.vm).await;
    }

    /// Orders it until the guest says that it is thawed, is gone, or boots. The note stays when the agent stops before.
    pub(super) async fn thaw(self) {
        let (vm, stopping, limits) = (self.held.vm, self.held.over.clone(), self.agents.limits);
        let mut backoff = Backoff::new(limits.retry, limits.longest_retry, vm.as_uuid().as_u64_pair().1);
        loop {
            let thawed = tokio::select! {
                () = stopping.cancelled() => return,
                thawed = self.try_thaw() => thawed,
            };
            match thawed {
                Ok(true) => return self.let_go().await,
                Err(why) if backoff.attempt() == 0 => {
                    tracing::warn!(%vm, %why, "the guest does not thaw; it is told again until it does");
                }
                Ok(false) | Err(_) => {}
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(backoff.next_delay()) => {}
            }
        }
    }

    /// Whether nothing is frozen any more.
    async fn try_thaw(&self) -> Result<bool, QuiesceError> {
        match self.guest().await {
            Guest::Gone => Ok(true),
            Guest::Suspended | Guest::Unknown => Ok(false),
            Guest::At(path) => self.thaw_at(&path).await.map(|()| true),
        }
    }

    async fn thaw_at(&self, path: &Path) -> Result<(), QuiesceError> {
        let mut link = Link::connect(path, self.agents.limits).await?;
        match link.thaw().await {
            Ok(_) => Ok(()),
            // An agent that knows of no freezing has frozen nothing.
            Err(why) if why.is_unknown_command() => Ok(()),
            Err(why) => match link.is_frozen().await {
                Ok(false) => Ok(()),
                _ => Err(why.into()),
            },
        }
    }

    /// Looked for by its VM: a guest that was suspended has another domain since.
    async fn guest(&self) -> Guest {
        let vm = self.held.vm;
        let Ok(domains) = self.agents.hypervisor.domains().await else { return Guest::Unknown };
        let ours = domains.into_iter().find(|info| info.is_of(vm));
        let Some(info) = ours else {
            let journal = self.agents.journal.clone();
            let has_image = tokio::task::spawn_blocking(move || journal.has_image(vm)).await;
            return match has_image {
                Ok(Ok(true)) => Guest::Suspended,
                Ok(Ok(false)) => Guest::Gone,
                Ok(Err(_)) | Err(_) => Guest::Unknown,
            };
        };
        if !matches!(info.status, DomainStatus::Running | DomainStatus::Paused) {
            return Guest::Unknown;
        }
        match self.agents.hypervisor.consoles(info.domid).await {
            Ok(paths) => paths.guest_agent.map_or(Guest::Gone, Guest::At),
            Err(HypervisorError::NoSuchDomain(_)) => Guest::Gone,
            Err(_) => Guest::Unknown,
        }
    }
}

/// Whether the guest is frozen already, from an agent of it that answers.
async fn ask(path: &Path, limits: Limits) -> Result<(Link, bool), LinkError> {
    let mut link = Link::open(path, limits).await?;
    let is_frozen = link.is_frozen().await?;
    Ok((link, is_frozen))
}

/// Why nothing is frozen.
enum Unready {
    NotTouched(QuiesceError),
    /// By an agent before us, or somebody else.
    WasFrozen,
}
