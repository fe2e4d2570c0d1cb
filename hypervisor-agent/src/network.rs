//! The networks of this host, and what may pass the NICs of its VMs, as the orchestrator declared them.
//!
//! What always holds: what is wanted is in the journal before anything is changed, so that it is there again after a
//! restart of the agent and a boot of the host, before VMs start, without an orchestrator ([`Networks::open`] and
//! [`Networks::repair`]). A network that cannot be there is told with the reason, and holds up no other. What is as it is
//! wanted is not touched. One change at a time: the lock is held over all of it.
//!
//! A crash leaves some of the changes made; the next start makes the others. Whoever flushes the packet filter, or takes
//! a device away, has it back within [`LOOK_EVERY`].

mod kernel;
mod mesh;
pub mod plan;
pub mod rules;
pub mod tunnels;

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{MissedTickBehavior, interval};
use xenith_common_tasks::CancellationToken;
use xenith_common_units::MacAddr;
use xenith_hypervisor_agent_backend::{FilterTable, HypervisorError, NetworkDevices, SeenLink};
use xenith_hypervisor_agent_types::mesh::{Encryption, RealisedMesh};
use xenith_hypervisor_agent_types::network::{
    HostNetwork, HostNetworks, Realised, RealisedNetwork, is_mesh_device,
};
use xenith_hypervisor_agent_types::{Fault, FaultReason};

pub use kernel::KernelDevices;

use crate::fault::from_journal;
use crate::journal::Journal;
use mesh::MeshState;
use rules::Table;

/// How often what is there is held against what is wanted, when nobody asks.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// NICs of which rules speak that could not be loaded, and why they could not; `None`: there are none.
pub type Unfiltered = Option<(BTreeSet<MacAddr>, String)>;

/// See the module.
pub struct Networks {
    devices: Arc<dyn NetworkDevices>,
    journal: Journal,
    state: Mutex<State>,
}

impl std::fmt::Debug for Networks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Networks")
    }
}

/// This host's address in the mesh, or why it has none.
type Way = Result<Ipv6Addr, String>;

fn way(wanted: &HostNetworks, mesh: Option<&RealisedMesh>) -> Way {
    match (&wanted.mesh, mesh.and_then(|mesh| mesh.problem.as_ref())) {
        (_, Some(problem)) => Err(problem.clone()),
        (Some(mesh), None) => Ok(mesh.address),
        (None, None) => Err("the orchestrator has not said how to encrypt yet".to_owned()),
    }
}

struct State {
    wanted: HostNetworks,
    /// What was loaded last; `None`: not by this run of the agent.
    loaded: Option<Table>,
    /// The tunnels to which only the mesh may send, as was loaded last; `None`: not by this run of the agent.
    guarded: Option<BTreeSet<u32>>,
    mesh: MeshState,
    /// What was told last.
    told: Realised,
}

impl Networks {
    /// With what the journal has. Where that cannot be read, with nothing until the orchestrator says it again: without
    /// an agent that would be never.
    pub fn open(devices: Arc<dyn NetworkDevices>, journal: Journal) -> Arc<Self> {
        let wanted = journal.load_networks().unwrap_or_else(|error| {
            tracing::error!(%error, "the networks of this host cannot be read; they wait for the orchestrator");
            None
        });
        let wanted = wanted.unwrap_or_default();
        let (mesh, told) = (MeshState::default(), Realised::default());
        let state = State { wanted, loaded: None, guarded: None, mesh, told };
        Arc::new(Self { devices, journal, state: Mutex::new(state) })
    }

    /// Makes the host have these networks and no others of ours. An error says that they could not be written down;
    /// then nothing was changed.
    pub async fn realise(&self, wanted: HostNetworks) -> Result<Realised, Fault> {
        let mut state = self.state.lock().await;
        if state.wanted != wanted {
            let (journal, to_save) = (self.journal.clone(), wanted.clone());
            tokio::task::spawn_blocking(move || journal.save_networks(&to_save))
                .await
                .map_err(|error| Fault::new(FaultReason::Internal, error))?
                .map_err(|error| from_journal(&error))?;
            state.wanted = wanted;
        }
        Ok(self.carry_out(&mut state).await)
    }

    /// Once more what is wanted, where anything is.
    pub async fn repair(&self) {
        let mut state = self.state.lock().await;
        if state.wanted.is_empty() {
            return;
        }
        let before = state.told.clone();
        let now = self.carry_out(&mut state).await;
        if now != before && !now.is_whole() {
            tracing::warn!(?now, "not all networks of this host are as they are wanted");
        }
    }

    /// As of the last time that anything was carried out.
    pub async fn unfiltered(&self) -> Unfiltered {
        let state = self.state.lock().await;
        let problem = state.told.filter_problem.clone()?;
        Some((state.wanted.filter.vifs.iter().map(|vif| vif.mac).collect(), problem))
    }

    /// Repairs until the agent stops.
    pub async fn keep(self: Arc<Self>, token: CancellationToken) {
        let mut now_and_then = interval(LOOK_EVERY);
        now_and_then.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first comes at once, and who started us has just looked.
        now_and_then.tick().await;
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                _ = now_and_then.tick() => self.repair().await,
            }
        }
    }

    async fn carry_out(&self, state: &mut State) -> Realised {
        // The filter first: a network that comes up must not be open before its rules are there.
        let filter_problem = self.filter(&state.wanted, &mut state.loaded).await;
        let guarded = self.guard(&state.wanted.networks, &mut state.guarded).await;
        let mesh = self.mesh(&state.wanted, &mut state.mesh).await;
        let way = guarded.and_then(|()| way(&state.wanted, mesh.as_ref()));
        let networks = self.all(&state.wanted.networks, &way).await;
        state.told = Realised { networks, filter_problem, mesh };
        state.told.clone()
    }

    async fn mesh(&self, wanted: &HostNetworks, mesh: &mut MeshState) -> Option<RealisedMesh> {
        let links = self.devices.links().await.unwrap_or_default();
        let there: Vec<String> =
            links.into_iter().map(|link| link.name).filter(|name| is_mesh_device(name)).collect();
        mesh.realise((&*self.devices, &self.journal), wanted, &there).await
    }

    async fn filter(&self, wanted: &HostNetworks, loaded: &mut Option<Table>) -> Option<String> {
        let networks: BTreeSet<_> = wanted.networks.iter().map(|network| network.network).collect();
        let table = Table::compile(&wanted.filter, &networks);
        match self.load(&table, loaded.as_ref()).await {
            Ok(()) => {
                *loaded = Some(table);
                None
            }
            Err(error) => {
                // What is there now is not known.
                *loaded = None;
                Some(error.to_string())
            }
        }
    }

    /// What comes to encrypted networks past the mesh is refused; or why it cannot be, and none is made then.
    async fn guard(&self, wanted: &[HostNetwork], loaded: &mut Option<BTreeSet<u32>>) -> Result<(), String> {
        let numbers = tunnels::numbers(wanted);
        if numbers.is_empty() && loaded.as_ref().is_some_and(BTreeSet::is_empty) {
            return Ok(());
        }
        let done = match self.devices.has_filter(FilterTable::Tunnels).await {
            Ok(true) if loaded.as_ref() == Some(&numbers) => Ok(()),
            // One that cannot filter has no table either.
            Ok(false) | Err(_) if numbers.is_empty() => Ok(()),
            _ => self.devices.load_filter(&tunnels::commands(&numbers)).await,
        };
        *loaded = done.is_ok().then_some(numbers);
        done.map_err(|error| error.to_string())
    }

    async fn load(&self, table: &Table, loaded: Option<&Table>) -> Result<(), HypervisorError> {
        let there = self.devices.has_filter(FilterTable::Vms).await;
        if table.is_empty() {
            return match there {
                Ok(true) => self.devices.load_filter(&table.whole()).await,
                // A host that cannot filter, for want of the program or of the kernel's part, does not have to.
                Ok(false) | Err(HypervisorError::Unsupported { .. }) => Ok(()),
                Err(HypervisorError::Device { .. }) if loaded.is_none_or(Table::is_empty) => Ok(()),
                Err(error) => Err(error),
            };
        }
        let Some(before) = loaded.filter(|_| there == Ok(true)) else {
            return self.devices.load_filter(&table.whole()).await;
        };
        let commands = table.since(before);
        if commands.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.devices.load_filter(&commands).await {
            tracing::info!(%error, "the packet filter was changed by somebody else and is loaded anew");
            return self.devices.load_filter(&table.whole()).await;
        }
        Ok(())
    }

    async fn all(&self, wanted: &[HostNetwork], way: &Way) -> Vec<RealisedNetwork> {
        let mut seen = match self.devices.links().await {
            Ok(seen) => seen,
            Err(error) => {
                let problem = Some(error.to_string());
                let same = |network: &HostNetwork| RealisedNetwork {
                    network: network.network,
                    problem: problem.clone(),
                };
                return wanted.iter().map(same).collect();
            }
        };
        self.remove_others(wanted, &mut seen).await;
        let mut done = Vec::with_capacity(wanted.len());
        for network in wanted {
            let problem = self.one(network, &mut seen, way).await.err();
            done.push(RealisedNetwork { network: network.network, problem });
        }
        done
    }

    async fn remove_others(&self, wanted: &[HostNetwork], seen: &mut Vec<SeenLink>) {
        let (changes, stay) = plan::removal(wanted, seen);
        for bridge in stay {
            tracing::warn!(
                bridge,
                "a network is gone, but guests are on its bridge, which stays until they are not"
            );
        }
        if changes.is_empty() {
            return;
        }
        for change in changes {
            if let Err(error) = self.devices.change(&change).await {
                tracing::warn!(?change, %error, "what a network had cannot be removed");
            }
        }
        if let Ok(now) = self.devices.links().await {
            *seen = now;
        }
    }

    async fn one(&self, network: &HostNetwork, seen: &mut Vec<SeenLink>, way: &Way) -> Result<(), String> {
        if let (Encryption::WireGuard, Err(problem)) = (network.encryption, way) {
            // What is to be encrypted is not sent in the open meanwhile.
            if let Some(change) = plan::unencrypted(network, seen) {
                self.devices.change(&change).await.map_err(|error| error.to_string())?;
                *seen = self.devices.links().await.map_err(|error| error.to_string())?;
            }
            return Err(problem.clone());
        }
        let changes = plan::network(network, seen, way.as_ref().ok().copied())?;
        if changes.is_empty() {
            return Ok(());
        }
        tracing::info!(network = %network.network, name = network.name, ?changes, "a network is changed");
        let mut failed = None;
        for change in &changes {
            if let Err(error) = self.devices.change(change).await {
                failed = Some(error.to_string());
                break;
            }
        }
        // Also after a failure: others are planned by what is there.
        *seen = self.devices.links().await.map_err(|error| error.to_string())?;
        failed.map_or(Ok(()), Err)
    }
}
