//! What NICs plug into.

use async_trait::async_trait;
use xenith_common_ids::NetworkId;
use xenith_orchestrator_api::Call;
use xenith_orchestrator_api::network::NetworkApi;
use xenith_orchestrator_store::Transaction;
use xenith_orchestrator_types::network::{CreateNetwork, Network, NetworkRef};
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
        let fine = (1..=15).contains(&request.bridge.len())
            && request.bridge.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        if !fine {
            return Err(ApiError::invalid("bridge", "is not the name of a bridge such as xenbr0"));
        }
        let (networks, _) = self.db.networks.all().await.map_err(|error| store_error(&error))?;
        if networks.iter().any(|other| other.value.pool == pool.id && other.value.name == request.name) {
            let message = format_args!("there is a network {:?} in this pool already", request.name);
            return Err(ApiError::new(Reason::Conflict, message));
        }
        let network = Network {
            id: NetworkId::new(),
            name: request.name,
            pool: pool.id,
            bridge: request.bridge,
            description: request.description,
        };
        let commit = self.require_pool_in(Transaction::new(), pool.id);
        let commit = self.db.networks.insert_in(commit, &network.id, &network);
        self.db.store.commit(commit).await.map_err(|error| Self::pool_gone(&error, &pool.name))?;
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
        Ok(Empty {})
    }
}
