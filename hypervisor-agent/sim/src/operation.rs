//! The calls of the seam, by name: what delays and fault rules are about.

use std::fmt;

/// One method of [`xenith_hypervisor_agent_backend::Hypervisor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    Host,
    Hardware,
    Domains,
    Usage,
    Domain,
    Create,
    Resume,
    Suspend,
    SuspendLive,
    CancelSuspend,
    Pause,
    Unpause,
    Shutdown,
    HasTakenUp,
    Destroy,
    SetMemory,
    SetVcpus,
    SetCpuShare,
    ChangeCd,
    AttachDisk,
    DetachDisk,
    AttachNic,
    DetachNic,
    Consoles,
}

impl Operation {
    pub const COUNT: usize = Self::ALL.len();

    /// In the order of the variants, so that `ALL[operation as usize]` is its entry.
    pub const ALL: [(Self, &'static str); 24] = [
        (Self::Host, "host"),
        (Self::Hardware, "hardware"),
        (Self::Domains, "domains"),
        (Self::Usage, "usage"),
        (Self::Domain, "domain"),
        (Self::Create, "create"),
        (Self::Resume, "resume"),
        (Self::Suspend, "suspend"),
        (Self::SuspendLive, "suspend-live"),
        (Self::CancelSuspend, "cancel-suspend"),
        (Self::Pause, "pause"),
        (Self::Unpause, "unpause"),
        (Self::Shutdown, "shutdown"),
        (Self::HasTakenUp, "has-taken-up"),
        (Self::Destroy, "destroy"),
        (Self::SetMemory, "set-memory"),
        (Self::SetVcpus, "set-vcpus"),
        (Self::SetCpuShare, "set-cpu-share"),
        (Self::ChangeCd, "change-cd"),
        (Self::AttachDisk, "attach-disk"),
        (Self::DetachDisk, "detach-disk"),
        (Self::AttachNic, "attach-nic"),
        (Self::DetachNic, "detach-nic"),
        (Self::Consoles, "consoles"),
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_variants() {
        for (index, (operation, name)) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, index, "{name}");
        }
    }
}
