//! Which VMs are to stay apart, and which to be together: found from either side, though only one of two names the other.
//!
//! Kept with every change of a VM's record, so that nobody reads all records to know whom one VM concerns.

use std::collections::BTreeSet;
use std::collections::hash_map::Entry;

use xenith_common_ids::{HostId, VmId};

use super::{Intended, KnownVm, Views};

impl Views {
    /// Another number than before: VMs came to the host or left it, or one that has company was changed.
    #[must_use]
    pub fn moves_of(&self, host: HostId) -> u64 {
        self.intended().moves.get(&host).copied().unwrap_or(0)
    }

    /// The VMs that one is to stay apart from, and those that it is to be together with, whichever of two names the other.
    #[must_use]
    pub fn company_of(&self, vm: VmId) -> (BTreeSet<VmId>, BTreeSet<VmId>) {
        let intended = self.intended();
        let company = |vm: VmId| intended.vms.get(&vm).and_then(|known| known.company.as_deref());
        let (mut apart, mut together) = (BTreeSet::new(), BTreeSet::new());
        if let Some(own) = company(vm) {
            apart.extend(own.apart_from.iter());
            together.extend(own.together_with.iter());
        }
        for other in intended.companions.get(&vm).into_iter().flatten() {
            let Some(theirs) = company(*other) else { continue };
            apart.extend(theirs.apart_from.contains(&vm).then_some(*other));
            together.extend(theirs.together_with.contains(&vm).then_some(*other));
        }
        (apart, together)
    }
}

impl Intended {
    pub(super) fn note_company(&mut self, vm: VmId, before: Option<&KnownVm>, after: Option<&KnownVm>) {
        let company = |known: Option<&KnownVm>| known.and_then(|known| known.company.clone());
        let (old, new) = (company(before), company(after));
        let host = |known: Option<&KnownVm>| known.map(|known| known.host);
        if old.is_some() || new.is_some() || host(before) != host(after) {
            for host in [host(before), host(after)].into_iter().flatten() {
                *self.moves.entry(host).or_default() += 1;
            }
        }
        if old == new {
            return;
        }
        for other in old.iter().flat_map(|company| company.all()) {
            if let Entry::Occupied(mut companions) = self.companions.entry(other) {
                companions.get_mut().remove(&vm);
                if companions.get().is_empty() {
                    companions.remove();
                }
            }
        }
        for other in new.iter().flat_map(|company| company.all()) {
            self.companions.entry(other).or_default().insert(vm);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::VmRecord;

    fn record(host: HostId, apart: &[VmId], together: &[VmId]) -> Option<VmRecord> {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        let record = json!({
            "spec": {
                "name": "web-1", "platform": { "kind": "pvh", "boot": { "kernel": "vmlinuz" } },
                "vcpus": { "online": 1, "max": 1 }, "memory": { "target": 128, "max": 128 },
            },
            "definition": 3, "description": "", "tags": [], "pool": id, "host": host,
            "created": time::OffsetDateTime::UNIX_EPOCH, "apart_from": apart, "together_with": together,
            "pending_restart": [], "held_by": null,
        });
        Some(serde_json::from_value(record).unwrap())
    }

    #[test]
    fn who_names_a_vm_is_found_and_forgotten_and_hosts_are_marked() {
        let mut intended = Intended::default();
        let (web, db, host, other) = (VmId::new(), VmId::new(), HostId::new(), HostId::new());
        let moves =
            |intended: &Intended| [host, other].map(|host| intended.moves.get(&host).copied().unwrap_or(0));
        let named =
            |intended: &Intended| intended.companions.get(&db).is_some_and(|names| names.contains(&web));
        for (case, put, marks, by_web) in [
            ("it comes", record(host, &[], &[]), [1, 0], false),
            ("nothing of it changes", record(host, &[], &[]), [1, 0], false),
            ("it names one", record(host, &[db], &[]), [3, 0], true),
            ("it has company and changes", record(host, &[], &[db]), [5, 0], true),
            ("it moves", record(other, &[], &[db]), [6, 1], true),
            ("it names nobody", record(other, &[], &[]), [6, 3], false),
            ("it goes", None, [6, 4], false),
        ] {
            intended.put_vm(web, put);
            assert_eq!((moves(&intended), named(&intended)), (marks, by_web), "{case}");
        }
        assert!(intended.companions.is_empty());
    }
}
