//! Keeps the networks and rules of all hosts as they are declared, and remembers what each host said.
//!
//! What always holds: a host is told all that it must have, at once, and one such call to a host is under way at a time,
//! each by the newest there is when it begins: an older picture never follows a newer one. A host is told when what it must
//! have is another than what it was told last, and besides now and then. Nothing here is stored but which hosts have been
//! told anything: those are told when nothing is left, too. A host that is away gets what it missed when it is heard.
//!
//! Of a VM for whose NICs nobody can say what they may do, no host is told less than before: the hosts with it keep what they
//! have, and nothing of which rules speak is started there.
//!
//! What a host must have follows from a picture ([`picture`], [`wanted`]) that is kept as things change (`keeper`).
//!
//! Before a VM of which rules speak runs on a host, the host has them ([`Networking::before_start`]), and it keeps them for
//! as long as it has a domain of the VM, whatever is recorded. Only what makes a VM run asks for that: nothing that takes a
//! step back may fail because a host cannot filter.

mod addresses;
mod keeper;
pub mod mesh;
pub mod picture;
pub mod wanted;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use xenith_common_ids::{HostId, NetworkId, OperationId, VmId};
use xenith_hypervisor_agent_api::{Command, CommandResult, Envelope};
use xenith_hypervisor_agent_types::network::{HostNetworks, Realised, bridge_of};
use xenith_orchestrator_store::StoreError;
use xenith_orchestrator_types::event::Severity;
use xenith_orchestrator_types::network::{Network, NetworkOnHost, NetworkState};

use crate::db::Db;
use crate::events::{Events, Happened};
use crate::fleet::Fleet;
use crate::metering::now;
use crate::model::HostRecord;
use crate::views::Views;
use keeper::Kept;
use mesh::HostKeys;

/// What was done is told again after this, what a host could not do after that, and a host that was not told after the last.
const AGAIN: Duration = Duration::from_secs(300);
const AGAIN_FAILED: Duration = Duration::from_secs(30);
const AGAIN_UNTOLD: Duration = Duration::from_secs(5);
/// How long a VM may take to be where it was about to be: moving a large one takes as long as its memory.
const COMES_WITHIN: Duration = Duration::from_secs(3600);
/// How long the read model may take to know of a VM what its record says.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
/// A host with hundreds of networks takes as long as so many calls of `ip`.
const PATIENCE: Duration = Duration::from_secs(300);

/// Why the rules of a VM are not where it is about to run.
#[derive(Debug, thiserror::Error)]
pub enum NotFiltered {
    /// The host said so, and says so again until somebody does something about it.
    #[error(
        "{vm} cannot run on {host}, which does not filter packets as its NICs need it: {problem}; put that right, or take \
         another host"
    )]
    Cannot { vm: String, host: String, problem: String },
    #[error("{host} could not be told the rules for the NICs of {vm}: {problem}")]
    Untold { vm: String, host: String, problem: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// When a host is told again what it was told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    /// Now and then.
    InTime,
    /// Besides, when it did not filter as it should: somebody may have put that right a moment ago.
    UnlessItFilters,
}

/// What a host said, and when.
type Said = (Instant, Result<Realised, String>);

/// One host.
#[derive(Debug, Default)]
struct Told {
    /// What it was told last. Held while it is told.
    last: tokio::sync::Mutex<Option<HostNetworks>>,
    /// Of the last time that it was told; who looks does not wait for the next.
    said: Mutex<Option<Said>>,
}

impl Told {
    fn lock(&self) -> MutexGuard<'_, Option<Said>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn said(&self) -> Option<Said> {
        self.lock().clone()
    }

    /// Whether it was told so long ago that it is told again.
    fn is_due(&self) -> bool {
        self.lock().as_ref().is_some_and(|said| !is_current(said))
    }
}

fn is_current((at, said): &Said) -> bool {
    let again = match said {
        Ok(realised) if realised.is_whole() => AGAIN,
        Ok(_) => AGAIN_FAILED,
        Err(_) => AGAIN_UNTOLD,
    };
    at.elapsed() < again
}

fn filters(said: &Result<Realised, String>) -> bool {
    said.as_ref().is_ok_and(|realised| realised.filter_problem.is_none())
}

/// See the module.
pub struct Networking {
    db: Db,
    fleet: Arc<Fleet>,
    views: Arc<Views>,
    events: Events,
    hosts: Mutex<HashMap<HostId, Arc<Told>>>,
    kept: Mutex<Kept>,
    changed: Notify,
    /// A host said something else than before.
    answered: Notify,
}

impl Networking {
    #[must_use]
    pub fn new(db: Db, fleet: Arc<Fleet>, views: Arc<Views>, events: Events) -> Arc<Self> {
        Arc::new(Self {
            db,
            fleet,
            views,
            events,
            hosts: Mutex::default(),
            kept: Mutex::default(),
            changed: Notify::new(),
            answered: Notify::new(),
        })
    }

    /// Something was declared, changed or deleted.
    pub fn wake(&self) {
        self.changed.notify_one();
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hosts(&self) -> MutexGuard<'_, HashMap<HostId, Arc<Told>>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self, host: HostId) -> Arc<Told> {
        Arc::clone(self.hosts().entry(host).or_default())
    }

    /// Of a host that was removed.
    fn forget(&self, host: HostId) {
        self.hosts().remove(&host);
    }

    /// Hosts that are told again because of the time.
    fn due(&self) -> Vec<HostId> {
        self.hosts().iter().filter(|(_, told)| told.is_due()).map(|(host, _)| *host).collect()
    }

    /// Has a host do what the picture wants of it, unless it has. What it said is what it was asked last.
    async fn settle(
        &self,
        (host, record): (HostId, &HostRecord),
        again: Again,
    ) -> Result<Result<Realised, String>, StoreError> {
        let told = self.told(host);
        let mut last = told.last.lock().await;
        // Nobody else tells this host until this one is done: so what it is told is never older than what it was told.
        let (wanted, unread) = {
            let kept = self.kept();
            (kept.picture.wanted(host), kept.picture.unread_on(host))
        };
        if let Some(vm) = unread {
            let said: Result<Realised, String> = Err(format!(
                "what is written down for the NICs of the VM {vm} cannot be read, so the host keeps what it has; the \
                 orchestrator's log says why"
            ));
            self.keep_said(&told, &said);
            return Ok(said);
        }
        let before = told.said();
        if let Some(said) = &before {
            let enough = again == Again::InTime || filters(&said.1);
            if last.as_ref() == Some(&wanted) && is_current(said) && enough {
                return Ok(said.1.clone());
            }
        }
        let known = self.db.host_networks.get(&host).await?;
        if wanted.is_empty() && known.is_none() {
            *last = None;
            *told.lock() = None;
            return Ok(Ok(Realised::default()));
        }
        if known.is_none() {
            self.db.host_networks.put(&host, &None).await?;
        }
        let said = self.tell(host, wanted.clone()).await;
        self.report((host, record), before.as_ref().map(|before| &before.1), &said).await;
        if let Ok(realised) = &said {
            let before = known.as_ref().and_then(|known| known.value.as_ref());
            self.note_keys(host, before, (&wanted, realised)).await?;
        }
        if let (true, Ok(_), Some(known)) = (wanted.is_empty(), &said, &known) {
            // One that puts it back has told it something new, which is noted again.
            let _somebody_else_did = self.db.host_networks.delete(known).await;
        }
        *last = Some(wanted);
        self.keep_said(&told, &said);
        Ok(said)
    }

    fn keep_said(&self, told: &Told, said: &Result<Realised, String>) {
        let before = told.lock().replace((Instant::now(), said.clone()));
        if before.is_none_or(|(_, before)| before != *said) {
            self.answered.notify_one();
        }
    }

    /// Until a host has said something else than before: whether a network is where it should be may be another answer now.
    /// For one waiter; what hosts say meanwhile is not missed.
    pub async fn answered(&self) {
        self.answered.notified().await;
    }

    /// Public keys are stored: an orchestrator that starts anew must not tell a host that the others have none.
    async fn note_keys(
        &self,
        host: HostId,
        before: Option<&HostKeys>,
        (wanted, realised): (&HostNetworks, &Realised),
    ) -> Result<(), StoreError> {
        let after = match (&wanted.mesh, &realised.mesh) {
            (Some(told), Some(realised)) => Some(HostKeys::after(before, told, realised, now())),
            // One that is wanted and was not told of is as it was.
            (Some(_), None) => return Ok(()),
            (None, _) => None,
        };
        if before == after.as_ref() {
            return Ok(());
        }
        if !wanted.is_empty() {
            self.db.host_networks.put(&host, &after).await?;
        }
        self.kept().picture.put_keys(host, after);
        self.wake();
        Ok(())
    }

    async fn tell(&self, host: HostId, wanted: HostNetworks) -> Result<Realised, String> {
        let client = self.fleet.client(host).ok_or("the host was removed")?;
        let command = Command::Networks(Box::new(wanted));
        let envelope = Envelope { operation: OperationId::new(), epoch: self.fleet.epoch(), command };
        match timeout(PATIENCE, client.execute(&envelope)).await {
            Ok(Ok(CommandResult::Networks(realised))) => Ok(*realised),
            Ok(Ok(other)) => Err(format!("the host answered something else: {other:?}")),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the host did not answer in time".to_owned()),
        }
    }

    /// Writes into the event log what was not so before.
    async fn report(
        &self,
        (host, record): (HostId, &HostRecord),
        before: Option<&Result<Realised, String>>,
        now: &Result<Realised, String>,
    ) {
        let problems = |said: &Result<Realised, String>| -> Vec<String> {
            let Ok(realised) = said else { return Vec::new() };
            let name = |id: NetworkId| {
                let kept = self.kept();
                kept.picture.network_name(id).map_or_else(|| id.to_string(), ToOwned::to_owned)
            };
            let networks = realised.networks.iter().filter_map(|network| {
                let problem = network.problem.as_ref()?;
                Some(format!("{} has no network {}: {problem}", record.name, name(network.network)))
            });
            let mesh = realised.mesh.as_ref().and_then(|mesh| mesh.problem.as_ref());
            let mesh = mesh.map(|problem| format!("{} encrypts nothing: {problem}", record.name));
            let filter = realised.filter_problem.as_ref();
            let filter =
                filter.map(|problem| format!("{} filters no packets as wanted: {problem}", record.name));
            networks.chain(filter).chain(mesh).collect()
        };
        let before = before.map(problems).unwrap_or_default();
        let mut news = problems(now);
        news.retain(|problem| !before.contains(problem));
        for message in news {
            let (severity, kind, subject) = (Severity::Warning, "network.failed", format!("host/{host}"));
            self.events.note(Happened { severity, kind, subject, message, pool: Some(record.pool) }).await;
        }
    }

    /// A VM is about to run on a host: where rules speak of its NICs, the host has them first. One of which none speak asks
    /// nothing of the host, which may have no packet filter at all.
    pub async fn before_start(&self, host: HostId, vm: VmId) -> Result<(), NotFiltered> {
        self.catch_up_beside().await?;
        if !self.kept().picture.has_rules() {
            return Ok(());
        }
        let (Some(record), Some(on)) = (self.db.vms.get(&vm).await?, self.views.host(host)) else {
            return Ok(());
        };
        let (name, of_host) = (record.value.spec.name.to_string(), on.name.clone());
        let behind = || NotFiltered::Untold {
            vm: name.clone(),
            host: of_host.clone(),
            problem: "the orchestrator is behind with what is recorded; try again in a moment".to_owned(),
        };
        if !self.views.is_through(record.revision, KNOWN_WITHIN).await {
            return Err(behind());
        }
        self.catch_up_beside().await?;
        {
            let mut kept = self.kept();
            if !kept.picture.speaks_of(vm) {
                return Ok(());
            }
            if !kept.picture.has_host(host) {
                return Err(behind());
            }
            kept.picture.comes(vm, host, Instant::now() + COMES_WITHIN);
        }
        self.wake();
        let said = self.settle((host, &on), Again::UnlessItFilters).await?;
        let (vm, host) = (name, of_host);
        match said.map(|realised| realised.filter_problem) {
            Ok(None) => Ok(()),
            Ok(Some(problem)) => Err(NotFiltered::Cannot { vm, host, problem }),
            Err(problem) => Err(NotFiltered::Untold { vm, host, problem }),
        }
    }

    /// The bridges of the networks that a host said it has. What it tells of itself has them a moment later.
    #[must_use]
    pub fn bridges_on(&self, host: HostId) -> Vec<String> {
        let Some((_, Ok(realised))) = self.told(host).said() else { return Vec::new() };
        let there = realised.networks.iter().filter(|one| one.problem.is_none());
        there.map(|one| bridge_of(one.network)).collect()
    }

    /// A network on the hosts of its pool.
    #[must_use]
    pub fn status(&self, network: &Network) -> Vec<NetworkOnHost> {
        let mut hosts = Vec::new();
        let in_pool = self.views.hosts().into_iter().filter(|(_, record)| record.pool == network.pool);
        for (host, record) in in_pool {
            let (state, reason) = self.on_host(network, host);
            hosts.push(NetworkOnHost { host, name: record.name.clone(), state, reason });
        }
        hosts.sort_by(|a, b| a.name.cmp(&b.name));
        hosts
    }

    fn on_host(&self, network: &Network, host: HostId) -> (NetworkState, Option<String>) {
        let unknown = |why: &str| (NetworkState::Unknown, Some(why.to_owned()));
        let Some(state) = self.fleet.state(host).filter(|state| state.is_heard()) else {
            return unknown("the host is not heard");
        };
        if network.uplink.is_none() {
            let there = state.facts().map(|facts| facts.bridges.iter().any(|has| has.name == network.bridge));
            return match there {
                Some(true) => (NetworkState::Realised, None),
                Some(false) => {
                    let why = format!("it has no bridge {}; make one there", network.bridge);
                    (NetworkState::Failed, Some(why))
                }
                None => unknown("the host has not told what it has"),
            };
        }
        match self.told(host).said() {
            None => unknown("the host was not told yet"),
            Some((_, Err(error))) => (NetworkState::Failed, Some(error)),
            Some((_, Ok(realised))) => {
                match realised.networks.into_iter().find(|realised| realised.network == network.id) {
                    None => unknown("the host was not told yet"),
                    Some(one) if one.problem.is_none() => (NetworkState::Realised, None),
                    Some(one) => (NetworkState::Failed, one.problem),
                }
            }
        }
    }
}
