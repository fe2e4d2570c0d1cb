//! What can go wrong between the agent and a hypervisor, in an administrator's words.

use std::time::Duration;

use xenith_common_ids::DomId;
use xenith_common_units::MemoryMiB;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HypervisorError {
    /// There is no Xen to talk to; `detail` says what is missing and how to get it.
    #[error("this machine is not a usable Xen host: {detail}")]
    NotAXenHost { detail: String },
    #[error("domain {0} does not exist")]
    NoSuchDomain(DomId),
    #[error("{device} is not attached to domain {domid}")]
    NoSuchDevice { domid: DomId, device: String },
    /// A device name or an address that the domain uses already.
    #[error("{device} is attached to domain {domid} already")]
    AlreadyAttached { domid: DomId, device: String },
    /// The domain is there but not in a state for this (dead, being destroyed, not running).
    #[error("domain {domid} is {status}; {operation} needs one that is {needs}")]
    WrongStatus { domid: DomId, status: String, operation: &'static str, needs: &'static str },
    #[error(
        "a domain named {name:?} exists already (domain {domid}); rename one of the two, or end that one"
    )]
    NameTaken { name: String, domid: DomId },
    /// A second domain of the VM would write the same disks.
    #[error(
        "domain {domid} is this VM already; shut it down in its guest, or end it on its host (xl destroy {domid}), and \
         start the VM then"
    )]
    VmTaken { domid: DomId },
    #[error("the host has {free} of memory free for guests, {needed} are needed")]
    NoMemory { needed: MemoryMiB, free: MemoryMiB },
    /// Something that the spec names is not usable on this host (a kernel, an image, a bridge).
    #[error("{field}: {problem}")]
    InvalidSpec { field: String, problem: String },
    /// A device could not be set up or removed, or its backend did not answer.
    #[error("{device}: {detail}")]
    Device { device: String, detail: String },
    #[error("{operation} is not possible here: {why}")]
    Unsupported { operation: &'static str, why: String },
    /// The toolstack ran out of memory, by its own word: Xen's for the domain, or dom0's for itself.
    #[error("{operation} failed, as Xen or dom0 ran out of memory; free some, or give dom0 more{}", said(.log))]
    OutOfMemory { operation: &'static str, log: String },
    /// The guest did not answer a request that needs its help. `after` is absent where the toolstack keeps the
    /// deadline and does not tell it; `log` is what it wrote, and may be empty.
    #[error(
        "the guest of domain {domid} did not answer {operation} {}{}",
        within(.after.map(|after| after.as_secs())),
        said(.log)
    )]
    GuestUnresponsive { domid: DomId, operation: &'static str, after: Option<Duration>, log: String },
    /// `after` and `log` as above.
    #[error("{operation} was not done {} and was given up{}", within(.after.map(|after| after.as_secs())), said(.log))]
    TimedOut { operation: &'static str, after: Option<Duration>, log: String },
    /// The toolstack said no for a reason without a variant of its own; `log` is what it wrote meanwhile.
    #[error("{operation} failed with {code}: {log}")]
    Failed { operation: &'static str, code: String, log: String },
    /// The back-end is shutting down or its thread is gone.
    #[error("the hypervisor connection is closed")]
    Closed,
}

fn within(seconds: Option<u64>) -> String {
    seconds.map_or_else(
        || "in the time that the toolstack allows".to_owned(),
        |seconds| format!("within {seconds}s"),
    )
}

fn said(log: &str) -> String {
    if log.is_empty() { String::new() } else { format!(": {log}") }
}

impl HypervisorError {
    /// Whether the same call may succeed later without anybody mending something.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::NoMemory { .. }
            | Self::OutOfMemory { .. }
            | Self::GuestUnresponsive { .. }
            | Self::TimedOut { .. }
            | Self::Device { .. }
            | Self::Failed { .. } => true,
            Self::NotAXenHost { .. }
            | Self::NoSuchDomain(_)
            | Self::NoSuchDevice { .. }
            | Self::AlreadyAttached { .. }
            | Self::WrongStatus { .. }
            | Self::NameTaken { .. }
            | Self::VmTaken { .. }
            | Self::InvalidSpec { .. }
            | Self::Unsupported { .. }
            | Self::Closed => false,
        }
    }
}
