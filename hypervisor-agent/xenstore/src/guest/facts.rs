//! The facts, typed.

use std::net::IpAddr;

use xenith_common_units::MemoryMiB;

/// What is known about the inside of a guest. Every field is by the guest's own word, except
/// [`GuestMemory::target`], [`GuestMemory::maximum`] and [`ShutdownControl::requested`], which the control
/// domain writes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GuestFacts {
    /// Sorted, without duplicates.
    pub addresses: Vec<GuestAddress>,
    pub os: GuestOs,
    pub pv_drivers: PvDrivers,
    pub memory: GuestMemory,
    pub shutdown: ShutdownControl,
}

/// An address of one of the guest's NICs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuestAddress {
    /// The place of the VIF among those of the domain, from 0.
    pub vif: u16,
    pub address: IpAddr,
}

/// The operating system. Texts are clean (no control characters) and at most 256 characters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GuestOs {
    /// For people: "Debian GNU/Linux 12 (bookworm)".
    pub name: Option<String>,
    /// For programs: "debian".
    pub distro: Option<String>,
    /// The kernel: "6.1.0-18-amd64".
    pub uname: Option<String>,
}

/// Guest tools and paravirtual drivers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PvDrivers {
    /// The version of the guest tools, such as 9.3.1.
    pub version: Option<String>,
    /// What the drivers of a Windows guest call themselves.
    pub drivers: Vec<String>,
}

impl PvDrivers {
    /// Whether the guest says that it has any.
    #[must_use]
    pub const fn are_there(&self) -> bool {
        self.version.is_some() || !self.drivers.is_empty()
    }
}

/// Memory, rounded down to MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GuestMemory {
    /// What the balloon aims at.
    pub target: Option<MemoryMiB>,
    /// What the domain was built for.
    pub maximum: Option<MemoryMiB>,
    /// What the guest has free.
    pub free: Option<MemoryMiB>,
    /// What the guest's kernel counts as its memory.
    pub total: Option<MemoryMiB>,
}

/// The handshake by which a guest is asked to stop.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ShutdownControl {
    /// What was asked (`poweroff`, `reboot`, `suspend`) and not acknowledged yet.
    pub requested: Option<String>,
    /// What the guest says it listens to.
    pub listens_to_poweroff: bool,
    pub listens_to_reboot: bool,
    pub listens_to_suspend: bool,
}
