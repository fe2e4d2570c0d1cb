//! The seam to the network devices and the packet filter of a host.
//!
//! What always holds: a back-end does what it is told and decides nothing; which device may be touched is decided by who
//! plans the changes. Every change may be repeated.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use async_trait::async_trait;
use xenith_hypervisor_agent_types::mesh::{MeshPeer, WireGuardKey};
use xenith_hypervisor_agent_types::network::{BondMode, Vlan, Vni};

use crate::Result;

/// A network device as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenLink {
    pub name: String,
    pub kind: LinkKind,
    /// The bridge or bond that it is a port of.
    pub port_of: Option<String>,
    pub is_up: bool,
    pub mtu: u32,
    /// What people are told of it (`ip link`: alias).
    pub alias: String,
    /// Those that others can reach.
    pub addresses: Vec<IpAddr>,
    /// It gives itself an IPv6 address.
    pub gives_itself_one: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkKind {
    /// A network card, or something else that is none of these.
    Other,
    Bridge,
    Vlan {
        on: String,
        vlan: u32,
    },
    Bond {
        mode: String,
    },
    /// With the hosts that it sends to what is for everybody.
    Tunnel {
        vni: u32,
        /// What it sends from; `None`: whatever address is at hand.
        local: Option<IpAddr>,
        peers: BTreeSet<IpAddr>,
    },
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkChange {
    AddBridge {
        name: String,
    },
    AddVlan {
        name: String,
        on: String,
        vlan: Vlan,
    },
    AddBond {
        name: String,
        mode: BondMode,
    },
    AddTunnel {
        name: String,
        vni: Vni,
        local: Option<Ipv6Addr>,
    },
    SetAlias {
        name: String,
        alias: String,
    },
    SetMtu {
        name: String,
        mtu: u32,
    },
    /// It gives itself no IPv6 address.
    KeepWithoutAddress {
        name: String,
    },
    Plug {
        port: String,
        into: String,
    },
    Unplug {
        port: String,
    },
    Up {
        name: String,
    },
    Down {
        name: String,
    },
    AddPeer {
        tunnel: String,
        peer: IpAddr,
    },
    RemovePeer {
        tunnel: String,
        peer: IpAddr,
    },
    Delete {
        name: String,
    },
}

/// An interface of WireGuard. Who prints it sees no key.
#[derive(Clone, PartialEq, Eq)]
pub struct MeshDevice {
    pub name: String,
    /// UDP.
    pub port: u16,
    pub private_key: String,
    pub address: Ipv6Addr,
    pub mtu: u32,
    pub peers: Vec<MeshPeer>,
    /// Addresses of peers that are sent to by it.
    pub routes: Vec<Ipv6Addr>,
}

impl std::fmt::Debug for MeshDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MeshDevice")
            .field("name", &self.name)
            .field("peers", &self.peers.len())
            .field("routes", &self.routes)
            .finish_non_exhaustive()
    }
}

/// A table of ours for nftables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterTable {
    /// What may pass the NICs of VMs.
    Vms,
    /// What may come into the tunnels of encrypted networks.
    Tunnels,
}

/// The kernel's devices and packet filter on a real host.
#[async_trait]
pub trait NetworkDevices: Send + Sync + 'static {
    async fn links(&self) -> Result<Vec<SeenLink>>;

    async fn change(&self, change: &LinkChange) -> Result<()>;

    /// Carries out commands for `nft`: all of them, or none.
    async fn load_filter(&self, commands: &str) -> Result<()>;

    /// Whether it is there: another program may have flushed all tables.
    async fn has_filter(&self, table: FilterTable) -> Result<bool>;

    /// A new private key. [`Unsupported`](crate::HypervisorError::Unsupported), here and below, where WireGuard is not.
    async fn mesh_key(&self) -> Result<String>;

    /// The public key of a private one.
    async fn mesh_public_key(&self, private: &str) -> Result<WireGuardKey>;

    /// Makes an interface, or changes the one of its name. Sessions with peers that stay go on.
    async fn make_mesh(&self, device: &MeshDevice) -> Result<()>;

    async fn remove_mesh(&self, name: &str) -> Result<()>;
}
