//! What NICs plug into.

use async_trait::async_trait;
use xenith_common_ids::{NetworkId, PoolId};
use xenith_hypervisor_agent_types::mesh::Encryption;
use xenith_hypervisor_agent_types::network::{Uplink, bridge_of, is_ours};
use xenith_orchestrator_api::Call;
use xenith_orchestrator_api::network::NetworkApi;
use xenith_orchestrator_store::Transaction;
use xenith_orchestrator_types::network::{
    CreateNetwork, Network, NetworkEncryption, NetworkRef, NetworkStatus,
};
use xenith_orchestrator_types::{ApiError, Empty, ListRequest, Page, Permission, Reason};

use super::App;
use super::find::administers;
use super::listings::filtered;
use super::listings::places::NetworkRow;
use crate::errors::store_error;

#[async_trait]
impl NetworkApi for App {
    async fn list(&self, call: &Call, request: ListRequest) -> Result<Page<Network>, ApiError> {
        let sees = call.caller.sight(Permission::View);
        let (networks, _) = self.db.networks.all().await.map_err(|error| store_error(&error))?;
        let networks = networks.into_iter().map(|record| record.value);
        let seen = networks.filter(|network| self.sees_pool_of(&sees, network.pool));
        let rows = seen.map(|network| NetworkRow { pool: self.pool_name(network.pool), network }).collect();
        Ok(filtered(rows, &request)?.map(|row: NetworkRow| row.network))
    }

    async fn create(&self, call: &Call, request: CreateNetwork) -> Result<Network, ApiError> {
        let pool = self.find_pool(call, request.pool.as_deref())?;
        administers(call, pool.id)?;
        if request.name.is_empty() || request.name.len() > 63 {
            return Err(ApiError::invalid("name", "use 1 to 63 characters"));
        }
        let _alone = self.name_changes.lock().await;
        self.has_place(&request, pool.id).await?;
        let id = NetworkId::new();
        let CreateNetwork { name, bridge, description, uplink, mtu, encryption, .. } = request;
        let bridge = if uplink.is_some() { bridge_of(id) } else { bridge };
        let network = Network { id, name, pool: pool.id, bridge, description, uplink, mtu, encryption };
        let commit = self.require_pool_in(Transaction::new(), pool.id);
        let commit = self.db.networks.insert_in(commit, &network.id, &network);
        self.db.store.commit(commit).await.map_err(|error| Self::pool_gone(&error, &pool.name))?;
        self.networking.wake();
        Ok(network)
    }

    async fn status(&self, call: &Call, request: NetworkRef) -> Result<NetworkStatus, ApiError> {
        let found = self.find_network(call, &request.network).await?;
        let hosts = self.networking.status(&found.value);
        Ok(NetworkStatus { network: found.key, hosts })
    }

    async fn set_encryption(&self, call: &Call, request: NetworkEncryption) -> Result<Network, ApiError> {
        let found = self.find_network(call, &request.network).await?;
        administers(call, found.value.pool)?;
        can_encrypt(found.value.uplink.as_ref(), request.encryption)?;
        let network = Network { encryption: request.encryption, ..found.value.clone() };
        self.db.networks.update(&found, &network).await.map_err(|error| store_error(&error))?;
        self.networking.wake();
        Ok(network)
    }

    async fn delete(&self, call: &Call, request: NetworkRef) -> Result<Empty, ApiError> {
        let found = self.find_network(call, &request.network).await?;
        administers(call, found.value.pool)?;
        let hosts = self.views.hosts();
        let users = hosts.iter().flat_map(|(host, _)| self.views.vms_of(*host));
        let mut users = users.filter(|(_, vm)| vm.networks.contains(&found.key));
        if let Some((_, vm)) = users.next() {
            let message = format_args!("{} has a NIC in it; remove that first", vm.name);
            return Err(ApiError::new(Reason::WrongState, message));
        }
        self.db.networks.delete(&found).await.map_err(|error| store_error(&error))?;
        self.networking.wake();
        Ok(Empty {})
    }
}

impl App {
    /// Whether a network can be what it is to be, beside those that the pool has.
    async fn has_place(&self, request: &CreateNetwork, pool: PoolId) -> Result<(), ApiError> {
        can_encrypt(request.uplink.as_ref(), request.encryption)?;
        match &request.uplink {
            None => given_bridge(request)?,
            Some(_) if !request.bridge.is_empty() => {
                let problem = "give a bridge that the hosts have, or what they are to make one of, not both";
                return Err(ApiError::invalid("bridge", problem));
            }
            Some(uplink) => {
                uplink.check().map_err(|(field, problem)| ApiError::invalid(field, problem))?;
            }
        }
        let (networks, _) = self.db.networks.all().await.map_err(|error| store_error(&error))?;
        let others = networks.into_iter().map(|record| record.value);
        for other in others.filter(|other| other.pool == pool) {
            if other.name == request.name {
                let message = format_args!("there is a network {:?} in this pool already", request.name);
                return Err(ApiError::new(Reason::Conflict, message));
            }
            let clash = |uplink: &Uplink| uplink.clash(other.uplink.as_ref()?);
            if let Some(clash) = request.uplink.as_ref().and_then(clash) {
                let message = format_args!("the network {} {clash}", other.name);
                return Err(ApiError::new(Reason::Conflict, message));
            }
        }
        Ok(())
    }
}

/// Of any other network, what leaves the host is not ours.
fn can_encrypt(uplink: Option<&Uplink>, encryption: Encryption) -> Result<(), ApiError> {
    match (uplink, encryption) {
        (Some(Uplink::Private { .. }), _) | (_, Encryption::None) => Ok(()),
        _ => Err(ApiError::invalid("encryption", "is for private networks, which hosts send to each other")),
    }
}

/// A bridge that is not ours has a name that is not ours, and packets as large as whoever made it wants.
fn given_bridge(request: &CreateNetwork) -> Result<(), ApiError> {
    let bridge = &request.bridge;
    let fine = (1..=15).contains(&bridge.len())
        && bridge.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        && !is_ours(bridge);
    if !fine {
        return Err(ApiError::invalid("bridge", "is not the name of a bridge such as xenbr0"));
    }
    if request.mtu.is_some() {
        let problem =
            "belongs to a network that the hosts make; set that of a bridge of your own on the hosts";
        return Err(ApiError::invalid("mtu", problem));
    }
    Ok(())
}
