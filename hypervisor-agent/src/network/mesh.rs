//! The encrypted mesh on this host: keys, interfaces and routes.
//!
//! What always holds: private keys are files of the agent's in its state folder, made here, and no message has one. An
//! interface is told its peers in one step that leaves sessions alone which are as they should be. A generation that is not
//! wanted any more loses its interface, then its key.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use xenith_hypervisor_agent_backend::{HypervisorError, MeshDevice, NetworkDevices};
use xenith_hypervisor_agent_types::mesh::{
    Encryption, Mesh, MeshGeneration, RealisedMesh, VXLAN_BYTES, WireGuardKey, mesh_interface, mesh_port,
};
use xenith_hypervisor_agent_types::network::{HostNetwork, HostNetworks};

use crate::journal::{Journal, JournalError};

/// Smaller ones carry no IPv6.
const LEAST_MTU: u32 = 1280;

/// What was made last.
#[derive(Default)]
pub struct MeshState {
    made: BTreeMap<String, MeshDevice>,
    /// By generation: private and public.
    keys: BTreeMap<u64, (String, WireGuardKey)>,
    /// Generations whose keys were left in the journal.
    kept: Option<Vec<u64>>,
}

/// The packets of all encrypted networks have to fit.
fn mtu(networks: &[HostNetwork]) -> u32 {
    let encrypted = networks.iter().filter(|network| network.encryption == Encryption::WireGuard);
    encrypted.map(|network| network.mtu.get()).max().unwrap_or(LEAST_MTU) + VXLAN_BYTES
}

/// The interface of a generation. Each peer is sent to by the active one where it has its key, and else by the other.
fn device(mesh: &Mesh, generation: &MeshGeneration, private_key: String, mtu: u32) -> MeshDevice {
    let by_active = |address: Ipv6Addr| {
        let active = mesh.generations.iter().find(|other| other.number == mesh.active);
        active.is_some_and(|active| active.peers.iter().any(|peer| peer.address == address))
    };
    let is_active = generation.number == mesh.active;
    let addresses = generation.peers.iter().map(|peer| peer.address);
    MeshDevice {
        name: mesh_interface(generation.number),
        port: mesh_port(generation.number),
        private_key,
        address: mesh.address,
        mtu,
        peers: generation.peers.clone(),
        routes: addresses.filter(|address| is_active || !by_active(*address)).collect(),
    }
}

/// A read or write of the journal, which blocks.
async fn journaled<T: Send + 'static>(
    journal: &Journal,
    call: impl FnOnce(&Journal) -> Result<T, JournalError> + Send + 'static,
) -> Result<T, String> {
    let journal = journal.clone();
    let done = tokio::task::spawn_blocking(move || call(&journal)).await;
    done.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

async fn key(
    devices: &dyn NetworkDevices,
    journal: &Journal,
    generation: u64,
) -> Result<(String, WireGuardKey), String> {
    let told = |error: HypervisorError| error.to_string();
    let known = journaled(journal, move |journal| journal.load_mesh_key(generation)).await?;
    let private = match known {
        Some(private) => private,
        None => {
            let private = devices.mesh_key().await.map_err(told)?;
            let new = private.clone();
            journaled(journal, move |journal| journal.save_mesh_key(generation, &new)).await?;
            private
        }
    };
    let public = devices.mesh_public_key(&private).await.map_err(told)?;
    Ok((private, public))
}

impl MeshState {
    /// Makes it what it is to be; `there` are its interfaces as they are. Where no mesh is wanted, there is none of it left.
    pub async fn realise(
        &mut self,
        (devices, journal): (&dyn NetworkDevices, &Journal),
        wanted: &HostNetworks,
        there: &[String],
    ) -> Option<RealisedMesh> {
        let generations = wanted.mesh.as_ref().map(|mesh| &mesh.generations[..]).unwrap_or_default();
        let names: Vec<String> = generations.iter().map(|one| mesh_interface(one.number)).collect();
        for name in there.iter().filter(|name| !names.contains(name)) {
            if let Err(error) = devices.remove_mesh(name).await {
                tracing::warn!(name, %error, "an interface that encrypted is not needed any more and stays");
            }
        }
        self.made.retain(|name, _| names.contains(name) && there.contains(name));
        self.forget_others(journal, generations.iter().map(|one| one.number).collect()).await;
        let mesh = wanted.mesh.as_ref()?;
        let mut realised = RealisedMesh::default();
        for generation in generations {
            let made = self.generation((devices, journal), (mesh, generation), mtu(&wanted.networks)).await;
            if let Some((_, public)) = self.keys.get(&generation.number) {
                realised.keys.insert(generation.number, public.clone());
            }
            realised.problem = made.err().or(realised.problem);
        }
        Some(realised)
    }

    async fn forget_others(&mut self, journal: &Journal, wanted: Vec<u64>) {
        self.keys.retain(|generation, _| wanted.contains(generation));
        if self.kept.as_ref() == Some(&wanted) {
            return;
        }
        let kept = wanted.clone();
        match journaled(journal, move |journal| journal.keep_mesh_keys(&kept)).await {
            Ok(()) => self.kept = Some(wanted),
            Err(error) => tracing::warn!(error, "keys that are not needed any more stay"),
        }
    }

    async fn generation(
        &mut self,
        (devices, journal): (&dyn NetworkDevices, &Journal),
        (mesh, generation): (&Mesh, &MeshGeneration),
        mtu: u32,
    ) -> Result<(), String> {
        let number = generation.number;
        let private = match self.keys.get(&number) {
            Some((private, _)) => private.clone(),
            None => {
                let (private, public) = key(devices, journal, number).await?;
                self.keys.insert(number, (private.clone(), public));
                private
            }
        };
        let device = device(mesh, generation, private, mtu);
        if self.made.get(&device.name) == Some(&device) {
            return Ok(());
        }
        self.made.remove(&device.name);
        devices.make_mesh(&device).await.map_err(|error| error.to_string())?;
        self.made.insert(device.name.clone(), device);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use xenith_common_ids::{HostId, NetworkId};
    use xenith_hypervisor_agent_types::mesh::{MeshPeer, mesh_address};
    use xenith_hypervisor_agent_types::network::{Mtu, Uplink};

    use super::*;

    fn peer(number: u8) -> MeshPeer {
        MeshPeer {
            key: format!("{}=", char::from(b'a' + number).to_string().repeat(43)).parse().unwrap(),
            endpoint: IpAddr::from([192, 0, 2, number]),
            address: address(number),
        }
    }

    fn address(number: u8) -> Ipv6Addr {
        mesh_address(HostId::from_bytes([number; 16]))
    }

    #[test]
    fn each_peer_is_sent_to_by_one_generation() {
        let generation = |number, peers: &[u8]| MeshGeneration {
            number,
            peers: peers.iter().map(|peer_number| peer(*peer_number)).collect(),
        };
        let routes = |mesh: &Mesh| -> Vec<Vec<Ipv6Addr>> {
            let made = |one| device(mesh, one, String::new(), 1420).routes;
            mesh.generations.iter().map(made).collect()
        };
        let mut mesh = Mesh {
            address: address(1),
            active: 4,
            generations: vec![generation(4, &[2, 3]), generation(5, &[2])],
        };
        assert_eq!(routes(&mesh), [vec![address(2), address(3)], vec![]]);
        mesh.active = 5;
        assert_eq!(routes(&mesh), [vec![address(3)], vec![address(2)]], "one has no new key yet");
    }

    #[test]
    fn the_largest_encrypted_network_fits() {
        let network = |mtu: u32, encryption| HostNetwork {
            network: NetworkId::new(),
            name: "lan".to_owned(),
            uplink: Uplink::Internal,
            mtu: Mtu::try_from(mtu).unwrap(),
            peers: vec![],
            encryption,
        };
        let networks = [
            network(9000, Encryption::None),
            network(1350, Encryption::WireGuard),
            network(1300, Encryption::WireGuard),
        ];
        assert_eq!(mtu(&networks), 1420);
    }
}
