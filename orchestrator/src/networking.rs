//! Keeps the networks and rules of all hosts as they are declared, and remembers what each host said.
//!
//! What always holds: a host is told all that it must have, at once, and one such call to a host is under way at a time,
//! each by what was read before: an older reading never follows a newer one. What was told and done is told
//! again only now and then. Nothing here is stored but which hosts have been told anything: those are told when nothing
//! is left, too. A host that is away gets what it missed when it is heard.
//!
//! Before a VM of which rules speak runs on a host, the host has them ([`Networking::before_start`]), and it keeps them for
//! as long as it has a domain of the VM, whatever is recorded. Only what makes a VM run asks for that: nothing that takes a
//! step back may fail because a host cannot filter.

pub mod wanted;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use xenith_common_ids::{HostId, NetworkId, OperationId, VmId};
use xenith_common_units::MacAddr;
use xenith_hypervisor_agent_api::{Command, CommandResult, Envelope};
use xenith_hypervisor_agent_types::network::{HostNetworks, Realised, Uplink};
use xenith_orchestrator_store::StoreError;
use xenith_orchestrator_types::event::Severity;
use xenith_orchestrator_types::network::{Network, NetworkOnHost, NetworkState};

use crate::db::Db;
use crate::events::{Events, Happened};
use crate::fleet::Fleet;
use crate::model::HostRecord;
use crate::views::Views;
use wanted::{Picture, Vifs, VmPicture};

/// How often VMs that moved, and tags that changed, are looked for. What is declared anew is told at once.
const EVERY: Duration = Duration::from_secs(5);
/// What was done is told again after this, what failed after that.
const AGAIN: Duration = Duration::from_secs(300);
const AGAIN_FAILED: Duration = Duration::from_secs(30);
/// How long a VM may take to be where it was about to be: moving a large one takes as long as its memory.
const COMES_WITHIN: Duration = Duration::from_secs(3600);
/// Hosts that are told at the same time.
const AT_ONCE: usize = 64;
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
    /// The picture by which it was told last, and what. Held while it is told.
    last: tokio::sync::Mutex<(u64, Option<HostNetworks>)>,
    /// Of the last time that it was told; who looks does not wait for the next.
    said: Mutex<Option<Said>>,
}

impl Told {
    fn said(&self) -> Option<Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn is_current((at, said): &Said) -> bool {
    let whole = said.as_ref().is_ok_and(Realised::is_whole);
    at.elapsed() < if whole { AGAIN } else { AGAIN_FAILED }
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
    /// VMs that are about to be on a host, which the read model may not know yet.
    coming: Mutex<HashMap<VmId, (Instant, VmPicture)>>,
    pictures: AtomicU64,
    changed: Notify,
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
            coming: Mutex::default(),
            pictures: AtomicU64::new(1),
            changed: Notify::new(),
        })
    }

    /// Something was declared, changed or deleted.
    pub fn wake(&self) {
        self.changed.notify_one();
    }

    /// Never ends by itself.
    pub async fn keep(self: Arc<Self>) {
        let mut now_and_then = interval(EVERY);
        now_and_then.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.changed.notified() => {}
                _ = now_and_then.tick() => {}
            }
            if let Err(error) = self.round().await {
                tracing::warn!(%error, "what hosts must have of networks cannot be read");
            }
        }
    }

    async fn round(&self) -> Result<(), StoreError> {
        let picture = self.picture().await?;
        let told = self.db.host_networks.all().await?.0;
        let told: HashSet<HostId> = told.into_iter().map(|record| record.key).collect();
        if picture.is_empty() && told.is_empty() {
            return Ok(());
        }
        let mut heard = self.views.hosts();
        heard.retain(|(host, _)| {
            let heard = self.fleet.state(*host).is_some_and(|state| state.is_heard());
            heard && (!picture.is_empty() || told.contains(host))
        });
        let picture = &picture;
        let settle = |(host, record): (HostId, Arc<HostRecord>)| async move {
            if let Err(error) = self.settle((host, &record), picture, Again::InTime).await {
                tracing::warn!(%host, %error, "what the host was told of networks cannot be noted");
            }
        };
        futures::stream::iter(heard).for_each_concurrent(AT_ONCE, settle).await;
        Ok(())
    }

    /// Everything that is declared.
    async fn picture(&self) -> Result<Picture, StoreError> {
        // Before anything is read.
        let number = self.pictures.fetch_add(1, Ordering::Relaxed);
        let records = self.db.networks.all().await?.0;
        let networks: Vec<Network> = records.into_iter().map(|record| record.value).collect();
        let groups = self.db.security_groups.all().await?.0;
        let mut picture = Picture {
            number,
            groups: groups.into_iter().map(|record| record.value).collect(),
            ..Picture::default()
        };
        for record in self.db.vifs.all().await?.0 {
            // Of a VM that was deleted. One that was just made is in the store before it is in memory.
            if self.views.vm(record.key).is_none() && self.db.vms.get(&record.key).await?.is_none() {
                let _somebody_else_did = self.db.vifs.delete(&record).await;
                continue;
            }
            picture.vifs.insert(record.key, record.value);
        }
        let private = networks.iter().any(|network| matches!(network.uplink, Some(Uplink::Private { .. })));
        picture.networks = networks;
        let rules = !picture.groups.is_empty() || !picture.vifs.is_empty();
        for (host, record) in self.views.hosts() {
            let address = if private { address_of(&record.address).await } else { None };
            picture.hosts.push((host, record.pool, address));
            let vms = if rules { self.views.vms_of(host) } else { Vec::new() };
            for (vm, known) in vms {
                let (tags, macs) = (Arc::clone(&known.tags), known.macs.to_vec());
                picture.vms.insert(vm, VmPicture { pool: known.pool, hosts: vec![host], tags, macs });
            }
        }
        if rules {
            self.add_seen(&mut picture);
            self.add_coming(&mut picture);
        }
        Ok(picture)
    }

    /// A VM that moves has domains on two hosts, also when an orchestrator was restarted meanwhile. One that another took
    /// over from runs under the MACs of that other, should its host come back.
    fn add_seen(&self, picture: &mut Picture) {
        for (host, state) in self.fleet.states() {
            for seen in state.vms().iter().filter(|seen| seen.power.has_domain()) {
                let other = self.views.vm(seen.vm).and_then(|known| known.standby_of);
                for vm in [Some(seen.vm), other].into_iter().flatten() {
                    if let Some(known) = picture.vms.get_mut(&vm)
                        && !known.hosts.contains(&host)
                    {
                        known.hosts.push(host);
                    }
                }
            }
        }
    }

    /// A VM that comes to a host is on both until its record says where it is.
    fn add_coming(&self, picture: &mut Picture) {
        let mut coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        coming.retain(|vm, (since, expected)| match picture.vms.get_mut(vm) {
            _ if since.elapsed() >= COMES_WITHIN => false,
            Some(known) if expected.hosts.iter().all(|host| known.hosts.contains(host)) => false,
            Some(known) => {
                known.hosts.extend(&expected.hosts);
                true
            }
            None => {
                picture.vms.insert(*vm, expected.clone());
                true
            }
        });
    }

    fn told(&self, host: HostId) -> Arc<Told> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(hosts.entry(host).or_default())
    }

    /// Has a host do what the picture wants of it, unless it has. What it said is what it was asked last.
    async fn settle(
        &self,
        (host, record): (HostId, &HostRecord),
        picture: &Picture,
        again: Again,
    ) -> Result<Result<Realised, String>, StoreError> {
        let told = self.told(host);
        let mut last = told.last.lock().await;
        let wanted = picture.wanted(host, record.pool);
        let before = told.said();
        if let Some(said) = &before {
            // It knows better already.
            let is_old = picture.number < last.0;
            let enough = again == Again::InTime || filters(&said.1);
            if is_old || (last.1.as_ref() == Some(&wanted) && is_current(said) && enough) {
                return Ok(said.1.clone());
            }
        }
        let known = self.db.host_networks.get(&host).await?;
        if wanted.is_empty() && known.is_none() {
            return Ok(Ok(Realised::default()));
        }
        if known.is_none() {
            self.db.host_networks.put(&host, &()).await?;
        }
        let said = self.tell(host, wanted.clone()).await;
        self.report((host, record), before.as_ref().map(|before| &before.1), (picture, &said)).await;
        if let (true, Ok(_), Some(known)) = (wanted.is_empty(), &said, &known) {
            // One that puts it back has told it something new, which is noted again.
            let _somebody_else_did = self.db.host_networks.delete(known).await;
        }
        *last = (picture.number, Some(wanted));
        *told.said.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), said.clone()));
        Ok(said)
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
        (picture, now): (&Picture, &Result<Realised, String>),
    ) {
        let problems = |said: &Result<Realised, String>| -> Vec<String> {
            let Ok(realised) = said else { return Vec::new() };
            let name = |id: NetworkId| {
                let network = picture.networks.iter().find(|network| network.id == id);
                network.map_or_else(|| id.to_string(), |network| network.name.clone())
            };
            let networks = realised.networks.iter().filter_map(|network| {
                let problem = network.problem.as_ref()?;
                Some(format!("{} has no network {}: {problem}", record.name, name(network.network)))
            });
            let filter = realised.filter_problem.as_ref();
            let filter =
                filter.map(|problem| format!("{} filters no packets as wanted: {problem}", record.name));
            networks.chain(filter).collect()
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
        let groups = self.db.security_groups.all().await?.0;
        let written = self.db.vifs.get(&vm).await?;
        if groups.is_empty() && written.is_none() {
            return Ok(());
        }
        let (Some(record), Some(on)) = (self.db.vms.get(&vm).await?, self.views.host(host)) else {
            return Ok(());
        };
        let record = record.value;
        let macs: Vec<MacAddr> = record.spec.nics.iter().map(|nic| nic.mac).collect();
        let in_group = groups
            .iter()
            .any(|group| group.value.pool == record.pool && record.tags.contains(&group.value.tag));
        let held_back = |vifs: &Vifs| vifs.iter().any(|(mac, set)| macs.contains(mac) && set.restrict());
        let spoken_of = in_group || written.is_some_and(|written| held_back(&written.value));
        if macs.is_empty() || !spoken_of {
            return Ok(());
        }
        let coming = VmPicture { pool: record.pool, hosts: vec![host], tags: Arc::new(record.tags), macs };
        let expected = (Instant::now(), coming.clone());
        self.coming.lock().unwrap_or_else(PoisonError::into_inner).insert(vm, expected);
        let mut picture = self.picture().await?;
        picture.comes(vm, coming);
        let said = self.settle((host, &on), &picture, Again::UnlessItFilters).await?;
        let (vm, host) = (record.spec.name.to_string(), on.name.clone());
        match said.map(|realised| realised.filter_problem) {
            Ok(None) => Ok(()),
            Ok(Some(problem)) => Err(NotFiltered::Cannot { vm, host, problem }),
            Err(problem) => Err(NotFiltered::Untold { vm, host, problem }),
        }
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

/// By what an agent is reached, its host is reached by the others.
async fn address_of(address: &str) -> Option<IpAddr> {
    let host = address.rsplit_once(':')?.0;
    if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse() {
        return Some(address);
    }
    let found = timeout(Duration::from_secs(5), tokio::net::lookup_host(address)).await.ok()?.ok()?.next();
    found.map(|found| found.ip())
}
