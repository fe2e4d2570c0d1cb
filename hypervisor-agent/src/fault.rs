//! Errors of the agent's parts, told to the orchestrator as faults.

use xenith_hypervisor_agent_backend::HypervisorError;
use xenith_hypervisor_agent_types::{Fault, FaultReason};

use crate::journal::JournalError;

pub fn from_hypervisor(error: &HypervisorError) -> Fault {
    let reason = match error {
        HypervisorError::NoSuchDomain(_) | HypervisorError::NoSuchDevice { .. } => FaultReason::NotFound,
        // Also of a second domain of a VM: it is up, and its owner says so at the next look.
        HypervisorError::AlreadyAttached { .. } | HypervisorError::VmTaken { .. } => FaultReason::WrongState,
        HypervisorError::WrongStatus { .. } => FaultReason::WrongStatus,
        HypervisorError::NameTaken { .. } => FaultReason::NameTaken,
        HypervisorError::NoMemory { .. } | HypervisorError::OutOfMemory { .. } => FaultReason::NoMemory,
        HypervisorError::InvalidSpec { field, problem } => return Fault::invalid(field, problem),
        HypervisorError::Unsupported { .. } => FaultReason::Unsupported,
        HypervisorError::GuestUnresponsive { .. } => FaultReason::GuestUnresponsive,
        HypervisorError::Closed => FaultReason::NotReady,
        HypervisorError::NotAXenHost { .. }
        | HypervisorError::Device { .. }
        | HypervisorError::TimedOut { .. }
        | HypervisorError::Failed { .. } => FaultReason::Hypervisor,
    };
    Fault::new(reason, error)
}

pub fn from_journal(error: &JournalError) -> Fault {
    let reason = if error.is_full() { FaultReason::StorageFull } else { FaultReason::Internal };
    let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    Fault::new(reason, format_args!("{error}{source}"))
}

#[cfg(test)]
mod tests {
    use xenith_common_ids::DomId;

    use super::*;

    /// Who hears `WrongState` of a start takes the VM for one that runs.
    #[test]
    fn only_a_vm_that_is_up_is_told_as_such() {
        let (domid, name) = (DomId(7), "web".to_owned());
        let ended = HypervisorError::WrongStatus {
            domid,
            status: "dead".to_owned(),
            operation: "unpause",
            needs: "running or paused",
        };
        for (error, reason) in [
            (HypervisorError::VmTaken { domid }, FaultReason::WrongState),
            (ended, FaultReason::WrongStatus),
            (HypervisorError::NameTaken { name, domid }, FaultReason::NameTaken),
        ] {
            let fault = from_hypervisor(&error);
            assert_eq!(fault.reason, reason);
            assert!(fault.message.contains("domain 7"), "{fault}");
        }
    }

    #[test]
    fn memory_that_ran_out_is_told_as_such_with_what_the_toolstack_wrote() {
        let log = "xc_dom_boot_mem_init failed".to_owned();
        let fault = from_hypervisor(&HypervisorError::OutOfMemory { operation: "creating the domain", log });
        assert_eq!(fault.reason, FaultReason::NoMemory);
        assert!(fault.message.contains("xc_dom_boot_mem_init"), "{fault}");
    }
}
