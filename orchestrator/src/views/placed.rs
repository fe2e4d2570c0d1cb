//! What changed in the read model, for those who make something of it.
//!
//! What always holds: a change is told after the read model has it. So who takes what changed and then looks it up sees
//! that change or a later one, which is told again.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::timeout;
use xenith_common_ids::{HostId, VmId};
use xenith_orchestrator_store::Revision;

use super::{KnownVm, Views};

/// What changed of where things are, for the rules of hosts.
#[derive(Debug, Default, PartialEq)]
pub struct Placed {
    /// VMs that came, went, or changed their pool, host, tags, MACs, or whom they stand by for.
    pub vms: HashSet<VmId>,
    /// Hosts that came, went, changed, or are heard or not.
    pub hosts: HashSet<HostId>,
    /// Hosts on which other VMs have a domain than before.
    pub domains: HashSet<HostId>,
}

impl Views {
    /// VMs that came, went, or changed their pool or tags since the last call; waits until there are some. One caller
    /// at a time; safe to cancel.
    pub async fn regrouped(&self) -> HashSet<VmId> {
        self.regrouped.next().await
    }

    /// Waits until [`Self::take_placed`] has something. One caller at a time; safe to cancel.
    pub async fn placed(&self) {
        self.placed.wait().await;
    }

    /// What changed since the last call. What it names is to be looked up after it.
    #[must_use]
    pub fn take_placed(&self) -> Placed {
        self.placed.take()
    }

    /// Waits until VMs are known as they were at `revision`, or later; at most `patience`. Whether they are.
    pub async fn is_through(&self, revision: Revision, patience: Duration) -> bool {
        let mut through = self.through.subscribe();
        let reached = timeout(patience, through.wait_for(|through| *through >= revision)).await;
        matches!(reached, Ok(Ok(_)))
    }

    /// The VMs that something is so of. Looks at all of them.
    #[must_use]
    pub fn vms_where(&self, wanted: impl Fn(VmId, &KnownVm) -> bool) -> Vec<VmId> {
        let intended = self.intended();
        intended.vms.iter().filter(|known| wanted(known.id, known)).map(|known| known.id).collect()
    }

    /// The VMs with one of these tags, in any pool. Where nobody has one, nothing is looked at.
    #[must_use]
    pub fn vms_tagged(&self, tags: &HashSet<String>) -> Vec<VmId> {
        let is_used = {
            let intended = self.intended();
            tags.iter().any(|tag| intended.tagged.contains_key(tag.as_str()))
        };
        if !is_used {
            return Vec::new();
        }
        self.vms_where(|_, known| known.tags.iter().any(|tag| tags.contains(tag)))
    }
}
