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
    /// The domain is there but not in a state for this (dead, being destroyed, not running).
    #[error("domain {domid} is {status}; {operation} needs one that is {needs}")]
    WrongStatus { domid: DomId, status: String, operation: &'static str, needs: &'static str },
    #[error("a domain named {name:?} exists already (domain {domid})")]
    NameTaken { name: String, domid: DomId },
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
    /// The guest did not answer a request that needs its help.
    #[error("the guest of domain {domid} did not answer {operation} within {}s", .after.as_secs())]
    GuestUnresponsive { domid: DomId, operation: &'static str, after: Duration },
    #[error("{operation} took longer than {}s and was given up", .after.as_secs())]
    TimedOut { operation: &'static str, after: Duration },
    /// The toolstack said no for a reason without a variant of its own; `log` is what it wrote meanwhile.
    #[error("{operation} failed with {code}: {log}")]
    Failed { operation: &'static str, code: String, log: String },
    /// The back-end is shutting down or its thread is gone.
    #[error("the hypervisor connection is closed")]
    Closed,
}

impl HypervisorError {
    /// Whether the same call may succeed later without anybody mending something.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::NoMemory { .. }
            | Self::GuestUnresponsive { .. }
            | Self::TimedOut { .. }
            | Self::Device { .. }
            | Self::Failed { .. } => true,
            Self::NotAXenHost { .. }
            | Self::NoSuchDomain(_)
            | Self::NoSuchDevice { .. }
            | Self::WrongStatus { .. }
            | Self::NameTaken { .. }
            | Self::InvalidSpec { .. }
            | Self::Unsupported { .. }
            | Self::Closed => false,
        }
    }
}
