//! The seam to the network devices and the packet filter of a host.
//!
//! What always holds: a back-end does what it is told and decides nothing; which device may be touched is decided by who
//! plans the changes. Every change may be repeated.

use std::collections::BTreeSet;
use std::net::IpAddr;

use async_trait::async_trait;
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

/// The kernel's devices and packet filter on a real host.
#[async_trait]
pub trait NetworkDevices: Send + Sync + 'static {
    async fn links(&self) -> Result<Vec<SeenLink>>;

    async fn change(&self, change: &LinkChange) -> Result<()>;

    /// Carries out commands for `nft`: all of them, or none.
    async fn load_filter(&self, commands: &str) -> Result<()>;

    /// Whether our table is there: another program may have flushed all tables.
    async fn has_filter(&self) -> Result<bool>;
}
