//! Networks, security groups, and what may pass NICs.

use std::net::IpAddr;

use clap::{Args, Subcommand, ValueEnum};
use xenith_common_units::MacAddr;
use xenith_hypervisor_agent_types::filter::Rule;
use xenith_hypervisor_agent_types::network::{InterfaceName, Mtu, Vlan, Vni};

use super::{Columns, Confirm, Keyed, Listing};

#[derive(Debug, Subcommand)]
pub enum NetworkCommand {
    /// List networks: -f bridge:xenbr0.
    List(Listing),
    /// Declare a network: what the hosts of a pool are to make a bridge of, or a bridge that they have.
    Create(Box<CreateNetworkArgs>),
    /// Show on which hosts a network is, and why it is not on the others.
    Status {
        #[arg(value_name = "NETWORK")]
        network: String,
        #[command(flatten)]
        columns: Columns,
    },
    /// Encrypt a private network between its hosts, or do so no more; VMs keep running.
    ///
    /// What its VMs send may be 100 bytes smaller then (1350), unless the network has an MTU of its own.
    SetEncryption {
        #[arg(value_name = "NETWORK")]
        network: String,
        /// How, or that it is not.
        #[arg(value_enum)]
        encryption: EncryptionFlag,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Delete a network that no VM uses.
    Delete {
        #[arg(value_name = "NETWORK")]
        network: String,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        keyed: Keyed,
    },
}

/// xenith network create lan --bridge xenbr0
///
/// xenith network create office --interface eth1 --vlan 20 --mtu 9000
///
/// xenith network create storage --bond b0 --interfaces eth2,eth3 --bond-mode lacp
///
/// xenith network create backend --private 5
#[derive(Debug, Args)]
pub struct CreateNetworkArgs {
    #[arg(value_name = "NAME")]
    pub name: String,
    #[command(flatten)]
    pub made_of: MadeOf,
    /// With --interface or --bond: a VLAN on it.
    #[arg(long, value_name = "ID", conflicts_with_all = ["bridge", "private", "internal"])]
    pub vlan: Option<Vlan>,
    /// With --bond: its interfaces.
    #[arg(long, value_name = "INTERFACE,…", value_delimiter = ',', requires = "bond")]
    pub interfaces: Vec<InterfaceName>,
    /// With --bond: how they share the work; the switch has to speak LACP for lacp.
    #[arg(long, value_enum, default_value = "active-backup")]
    pub bond_mode: BondModeFlag,
    /// With --private: what hosts send each other of it cannot be read on the way.
    #[arg(long, value_enum, requires = "private")]
    pub encryption: Option<EncryptionFlag>,
    /// The largest packet: 1280 to 9216. Without it 1500, 1450 for a private network, and 1350 for an encrypted one.
    #[arg(long, value_name = "BYTES", conflicts_with = "bridge")]
    pub mtu: Option<Mtu>,
    /// Without one, the pool `default`.
    #[arg(long)]
    pub pool: Option<String>,
    #[arg(long, default_value = "", hide_default_value = true)]
    pub description: String,
    #[command(flatten)]
    pub keyed: Keyed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EncryptionFlag {
    None,
    Wireguard,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct MadeOf {
    /// A bridge that the hosts have under this name, such as xenbr0.
    #[arg(long)]
    pub bridge: Option<String>,
    /// An interface of each host, such as eth1, which carries no address of the host.
    #[arg(long)]
    pub interface: Option<InterfaceName>,
    /// Several interfaces as one, under this name.
    #[arg(long, value_name = "NAME", requires = "interfaces")]
    pub bond: Option<InterfaceName>,
    /// The other hosts of the pool, over their own network, under this number; not encrypted.
    #[arg(long, value_name = "VNI")]
    pub private: Option<Vni>,
    /// Nothing: the VMs of one host reach each other.
    #[arg(long)]
    pub internal: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BondModeFlag {
    /// One works, the others stand by.
    ActiveBackup,
    /// All work (IEEE 802.3ad).
    Lacp,
}

#[derive(Debug, Subcommand)]
pub enum SecurityGroupCommand {
    /// List security groups: -f tag:web.
    List(Listing),
    /// Make a security group of the VMs that have a tag.
    Create {
        #[arg(value_name = "NAME")]
        name: String,
        /// The VMs of the pool with this tag are in it.
        #[arg(long)]
        tag: String,
        /// Without one, the pool `default`.
        #[arg(long)]
        pool: Option<String>,
        #[arg(long, default_value = "", hide_default_value = true)]
        description: String,
        #[command(flatten)]
        rules: Rules,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Replace all rules of a group, for running VMs too. A direction that is not given is no longer spoken of.
    SetRules {
        #[arg(value_name = "GROUP")]
        group: String,
        #[command(flatten)]
        rules: Rules,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Delete a security group: its rules no longer hold.
    Delete {
        #[arg(value_name = "GROUP")]
        group: String,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        keyed: Keyed,
    },
}

#[derive(Debug, Args)]
pub struct Rules {
    /// What may be sent to the VMs: PROTOCOL[:PORTS] [PEER], such as "tcp:22,443 10.0.0.0/8" or "any tag:web". More than
    /// once; everything else is dropped.
    #[arg(long, value_name = "RULE")]
    pub ingress: Vec<Rule>,
    /// What they may send, to whom; the same.
    #[arg(long, value_name = "RULE")]
    pub egress: Vec<Rule>,
    /// Nothing may be sent to them.
    #[arg(long, conflicts_with = "ingress")]
    pub no_ingress: bool,
    /// They may send nothing.
    #[arg(long, conflicts_with = "egress")]
    pub no_egress: bool,
}

impl Rules {
    /// Ingress and egress; `None`: not spoken of.
    pub fn lists(self) -> (Option<Vec<Rule>>, Option<Vec<Rule>>) {
        let Self { ingress, egress, no_ingress, no_egress } = self;
        let ingress = (no_ingress || !ingress.is_empty()).then_some(ingress);
        (ingress, (no_egress || !egress.is_empty()).then_some(egress))
    }
}

/// xenith vm set-nic web-1 00:16:3e:12:34:56 --lock addresses --address 10.0.0.7 --rate 100
///
/// xenith vm set-nic web-1 00:16:3e:12:34:56 --link down
#[derive(Debug, Args)]
pub struct SetNicArgs {
    #[arg(value_name = "VM")]
    pub vm: String,
    /// Of the NIC; `vm nics` lists them.
    #[arg(value_name = "MAC")]
    pub mac: MacAddr,
    /// What the guest may give as its own address.
    #[arg(long, value_enum)]
    pub lock: Option<LockFlag>,
    /// An address of the guest; more than once, and replaces all.
    #[arg(long = "address", value_name = "ADDRESS")]
    pub addresses: Vec<IpAddr>,
    /// Forget its addresses.
    #[arg(long, conflicts_with = "addresses")]
    pub no_addresses: bool,
    /// down: nothing passes.
    #[arg(long, value_enum)]
    pub link: Option<LinkFlag>,
    /// The most that passes in each direction, in Mbit/s; 0: no limit.
    #[arg(long = "rate", value_name = "MBIT")]
    pub rate_mbit: Option<u32>,
    #[command(flatten)]
    pub keyed: Keyed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LockFlag {
    /// Anything.
    Open,
    /// Its MAC.
    Mac,
    /// Its MAC, and those of --address.
    Addresses,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LinkFlag {
    Up,
    Down,
}
