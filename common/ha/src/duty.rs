//! What follows when a host is fenced, and when it comes back.
//!
//! What always holds: the record of a VM names the one host that may run it. It is given another name only while the host
//! that it names is fenced, and that is noted with the fenced host (*moved*) in the same write. A fenced host is welcomed
//! only when it has said, in answer to a question that was asked after it was fenced, that it has none of these VMs any
//! more; until then it starts nothing by itself.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xenith_common_ids::VmId;
use xenith_common_units::MemoryMiB;

/// When a VM is restarted after its host has died.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPriority {
    /// Before all others.
    High,
    #[default]
    Medium,
    /// After all others.
    Low,
    /// Not: it waits for its host.
    Off,
}

/// A VM that ran on a host that is fenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stranded {
    pub vm: VmId,
    pub priority: RestartPriority,
    pub memory: MemoryMiB,
}

/// What is restarted, first things first. Of those that are as urgent, the large ones: small ones fit between them.
#[must_use]
pub fn in_order(mut stranded: Vec<Stranded>) -> Vec<Stranded> {
    stranded.retain(|vm| vm.priority != RestartPriority::Off);
    stranded.sort_by_key(|vm| (vm.priority, std::cmp::Reverse(vm.memory), vm.vm));
    stranded
}

/// What a host that is back has to destroy and forget before anything starts there: what it has of what was moved.
#[must_use]
pub fn left_over(there: &BTreeSet<VmId>, moved: &BTreeSet<VmId>) -> Vec<VmId> {
    there.intersection(moved).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_priority_then_size() {
        let vm = |number: u8, priority, mib| Stranded {
            vm: VmId::from_bytes([number; 16]),
            priority,
            memory: MemoryMiB::new(mib).unwrap(),
        };
        let order = in_order(vec![
            vm(1, RestartPriority::Low, 4096),
            vm(2, RestartPriority::Medium, 512),
            vm(3, RestartPriority::Off, 512),
            vm(4, RestartPriority::High, 512),
            vm(5, RestartPriority::Medium, 1024),
            vm(6, RestartPriority::Medium, 512),
        ]);
        let order: Vec<u8> = order.iter().map(|stranded| stranded.vm.as_bytes()[0]).collect();
        assert_eq!(order, [4, 5, 2, 6, 1]);
    }

    #[test]
    fn only_what_was_moved_is_taken_away() {
        let vm = |number: u8| VmId::from_bytes([number; 16]);
        let there = BTreeSet::from([vm(1), vm(2)]);
        assert_eq!(left_over(&there, &BTreeSet::from([vm(2), vm(3)])), [vm(2)]);
        assert!(left_over(&there, &BTreeSet::new()).is_empty());
    }
}
