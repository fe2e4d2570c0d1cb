//! Hosts.

use std::net::IpAddr;

use clap::{Args, Subcommand, ValueEnum};
use humantime::Duration;
use xenith_hypervisor_agent_types::management::Addressing;
use xenith_hypervisor_agent_types::network::InterfaceName;

use super::{Confirm, Keyed, Listing, Planned};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnOff {
    On,
    Off,
}

/// Without either, no VM may run on the host.
#[derive(Debug, Clone, Copy, Args)]
pub struct GuestsFlags {
    /// First move its VMs to other hosts.
    #[arg(long, conflicts_with = "shut_down_vms")]
    pub evacuate: bool,
    /// First shut its VMs down, by restart priority. Those with autostart start with the host again.
    #[arg(long)]
    pub shut_down_vms: bool,
    /// VMs that are moved take disks along that no other host reaches: those are copied to the local SR there.
    #[arg(long, requires = "evacuate")]
    pub move_disks: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ControlFlag {
    Redfish,
    Ipmi,
    /// There is none any more.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PowerFlag {
    Status,
    On,
    Off,
    Cycle,
}

/// xenith host set-power-control xen1 redfish bmc1.example.org --user xenith --certificate 3F:…
#[derive(Debug, Args)]
pub struct PowerControlArgs {
    #[arg(value_name = "HOST")]
    pub host: String,
    /// What its controller understands.
    #[arg(value_enum)]
    pub kind: ControlFlag,
    /// Of the management controller of this host, and a port where it is not the usual one.
    #[arg(value_name = "ADDRESS", default_value = "", hide_default_value = true)]
    pub address: String,
    /// Who signs in there.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub user: String,
    /// Fingerprint of its certificate, for redfish.
    #[arg(long = "certificate", id = "controller_certificate", value_name = "SHA256")]
    pub fingerprint: Option<String>,
    /// Keep the password that is known for this address, user and certificate.
    #[arg(long)]
    pub keep_password: bool,
    #[command(flatten)]
    pub keyed: Keyed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BondFlag {
    None,
    ActiveBackup,
    Lacp,
}

/// xenith host set-management xen1 --address 192.0.2.10/24 --gateway 192.0.2.1
///
/// xenith host set-management xen1 --vlan 7 --interfaces eth0,eth1 --bond lacp
#[derive(Debug, Args)]
pub struct SetManagementArgs {
    #[arg(value_name = "HOST")]
    pub host: String,
    /// dhcp, or an address with its network, such as 192.0.2.10/24.
    #[arg(long, value_name = "ADDRESS/LENGTH")]
    pub address: Option<Addressing>,
    #[arg(long, value_name = "ADDRESS")]
    pub gateway: Option<IpAddr>,
    /// All name servers.
    #[arg(long, value_name = "ADDRESS,…", value_delimiter = ',')]
    pub dns: Option<Vec<IpAddr>>,
    /// 0: none.
    #[arg(long, value_name = "ID")]
    pub vlan: Option<u32>,
    /// How several network cards share the work; the switch has to speak LACP for lacp.
    #[arg(long, value_enum)]
    pub bond: Option<BondFlag>,
    /// The network cards below it.
    #[arg(long, value_name = "INTERFACE,…", value_delimiter = ',')]
    pub interfaces: Option<Vec<InterfaceName>>,
    /// Where its agent is reached afterwards. Without it a name stays, and an address that was this interface's follows.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub agent_address: Option<String>,
    #[command(flatten)]
    pub planned: Planned,
}

#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// List hosts.
    List {
        /// Follow the list until Ctrl-C.
        #[arg(short, long, conflicts_with_all = ["sort", "limit", "all"])]
        watch: bool,
        #[command(flatten)]
        listing: Listing,
    },
    /// Show one host.
    #[command(visible_alias = "show")]
    Get {
        #[arg(value_name = "HOST")]
        host: String,
    },
    /// Show what VMs can be bound to: NUMA nodes and PCI devices.
    Hardware {
        #[arg(value_name = "HOST")]
        host: String,
    },
    /// Issue a join token for a new host; it works once.
    Add {
        /// The name it gets; without one, its own host name.
        #[arg(value_name = "NAME")]
        name: Option<String>,
        /// The pool it joins; without one, the pool `default`.
        #[arg(long)]
        pool: Option<String>,
        /// How long the token works, 1m to 7d.
        #[arg(long, value_name = "DURATION", default_value = "1h")]
        valid: Duration,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Let no VM be made or started on a host, or let them again.
    SetMaintenance {
        #[arg(value_name = "HOST")]
        host: String,
        /// Whether it is in maintenance from now on.
        #[arg(value_enum, default_value = "on")]
        maintenance: OnOff,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Put a host into maintenance and move its VMs to others.
    Evacuate {
        #[arg(value_name = "HOST")]
        host: String,
        /// VMs with disks that no other host reaches go, too: those are copied to the local SR there.
        #[arg(long)]
        move_disks: bool,
        /// Check everything and show which VM would go where, and which would stay; nothing changes.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Put a new system into a host's other slot and start the host into it; a bad one is left for the old one again.
    ///
    /// The host downloads the image, and takes it only when it is signed with the key that its own system came with.
    Upgrade {
        #[arg(value_name = "HOST")]
        host: String,
        /// Of a folder with image.json, image.json.minisig and filesystem.squashfs (on a medium: live).
        #[arg(value_name = "URL")]
        url: String,
        /// First move its VMs to other hosts. Without it, none may run.
        #[arg(long)]
        evacuate: bool,
        /// VMs that are moved take disks along that no other host reaches.
        #[arg(long, requires = "evacuate")]
        move_disks: bool,
        #[command(flatten)]
        planned: Planned,
    },
    /// Start a host anew, and wait until it is back.
    Reboot {
        #[arg(value_name = "HOST")]
        host: String,
        #[command(flatten)]
        guests: GuestsFlags,
        #[command(flatten)]
        planned: Planned,
    },
    /// Switch a host off. It stays in maintenance, and has to be switched on by hand.
    Shutdown {
        #[arg(value_name = "HOST")]
        host: String,
        #[command(flatten)]
        guests: GuestsFlags,
        #[command(flatten)]
        planned: Planned,
    },
    /// Show where the power of a host is switched.
    PowerControl {
        #[arg(value_name = "HOST")]
        host: String,
    },
    /// Say where the power of a host is switched, and ask there; the password is asked for, or comes from
    /// XENITH_POWER_PASSWORD.
    SetPowerControl(Box<PowerControlArgs>),
    /// Switch a host on or off past its system, or ask whether it is on.
    Power {
        #[arg(value_name = "HOST")]
        host: String,
        /// What its power control is told; `status` only asks.
        #[arg(value_enum, default_value = "status")]
        order: PowerFlag,
        /// Off and cycle also while VMs run there, or while the host is not heard.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Look for a host that moved under its new address; it keeps its VMs.
    SetAddress {
        #[arg(value_name = "HOST")]
        host: String,
        /// Of its agent, as the orchestrator reaches it.
        #[arg(value_name = "ADDRESS:PORT")]
        address: String,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Send what hosts send each other to a host by another address: migrating VMs, copies of VDIs, private networks.
    SetPeerAddress {
        #[arg(value_name = "HOST")]
        host: String,
        /// A name or an IP address that other hosts reach; without one, the address that the orchestrator uses.
        #[arg(value_name = "ADDRESS")]
        address: Option<String>,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Change a host's management interface; it goes back by itself unless it is heard over it within a minute.
    SetManagement(Box<SetManagementArgs>),
    /// Forget a host and revoke its certificate.
    Remove {
        #[arg(value_name = "HOST")]
        host: String,
        /// Also when VMs are defined on it: they are forgotten here, and run on there.
        #[arg(long)]
        force: bool,
        /// Check everything and show what would be forgotten; nothing changes.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        keyed: Keyed,
    },
}
