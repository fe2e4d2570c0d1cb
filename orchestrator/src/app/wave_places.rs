//! Places of waves: what moves now, and whether one more may begin within the caps.
//!
//! What always holds: the caps count over all waves from one source, since they protect what those have in common. What
//! moves is counted where its disks really are; where one that has not begun will go is taken from the wave's mapping.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use xenith_common_ids::{HostId, SrId};
use xenith_orchestrator_types::import::StorageMapping;
use xenith_orchestrator_types::wave::WaveCaps;

use crate::model::WaveMemberRecord;

/// What takes a place now, of one source.
#[derive(Debug, Default)]
pub(super) struct Places {
    overall: u32,
    hosts: BTreeMap<String, u32>,
    datastores: BTreeMap<String, u32>,
    targets: HashMap<HostId, u32>,
    srs: HashMap<SrId, u32>,
}

/// A host here that a VM may come to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub host: HostId,
    pub local_sr: Option<SrId>,
}

/// Where one more may go.
#[derive(Debug, Default)]
pub(super) struct Ways {
    /// One of them has to have room, and placement spreads.
    pub targets: Vec<Target>,
    /// Each of them has to have room; none: the local SR of the host.
    pub srs: BTreeSet<SrId>,
}

impl Places {
    /// Counts one that moves, with the host and the SRs that it moves to.
    pub fn take(&mut self, member: &WaveMemberRecord, target: Option<HostId>, srs: &BTreeSet<SrId>) {
        self.overall += 1;
        *self.hosts.entry(member.host.clone()).or_default() += 1;
        for datastore in &member.datastores {
            *self.datastores.entry(datastore.clone()).or_default() += 1;
        }
        if let Some(target) = target {
            *self.targets.entry(target).or_default() += 1;
        }
        for sr in srs {
            *self.srs.entry(*sr).or_default() += 1;
        }
    }

    /// Whether one more has a place.
    pub fn have_room(&self, member: &WaveMemberRecord, caps: WaveCaps, ways: &Ways) -> bool {
        let below = |count: Option<&u32>, cap: u32| count.copied().unwrap_or(0) < cap;
        let sr = |sr: &SrId| below(self.srs.get(sr), caps.per_sr);
        let target = |target: &Target| {
            let local = !ways.srs.is_empty() || target.local_sr.as_ref().is_none_or(sr);
            local && below(self.targets.get(&target.host), caps.per_target)
        };
        self.overall < caps.overall
            && below(self.hosts.get(&member.host), caps.per_host)
            && member.datastores.iter().all(|name| below(self.datastores.get(name), caps.per_datastore))
            && ways.srs.iter().all(sr)
            && ways.targets.iter().any(target)
    }
}

/// The SRs that the disks of `member` go to, of those `known` by id and name. A mapping to none of them is found out when
/// the VM begins.
pub(super) fn srs_of(
    member: &WaveMemberRecord,
    storage: &[StorageMapping],
    known: &[(SrId, String)],
) -> BTreeSet<SrId> {
    let to = |datastore: &String| {
        let exact = storage.iter().find(|mapping| mapping.from == *datastore);
        exact
            .or_else(|| storage.iter().find(|mapping| mapping.from == "*"))
            .map(|mapping| mapping.to.as_str())
    };
    let wanted: BTreeSet<&str> = member.datastores.iter().filter_map(to).collect();
    let named = known
        .iter()
        .filter(|(id, name)| wanted.contains(name.as_str()) || wanted.contains(id.to_string().as_str()));
    named.map(|(id, _)| *id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(host: &str, datastore: &str) -> WaveMemberRecord {
        WaveMemberRecord {
            vm: "vm-1".into(),
            name: "web".into(),
            host: host.into(),
            datastores: vec![datastore.into()],
            transfer_mib: 1,
            import: None,
            refused: None,
            waits_for: None,
        }
    }

    #[test]
    fn every_cap_holds_back() {
        let caps = WaveCaps { overall: 4, per_host: 2, per_datastore: 3, per_target: 2, per_sr: 2 };
        let (nas, local) = (SrId::new(), [SrId::new(), SrId::new()]);
        let targets = local.map(|sr| Target { host: HostId::new(), local_sr: Some(sr) });
        let shared = Ways { targets: targets.to_vec(), srs: BTreeSet::from([nas]) };
        let own = Ways { targets: targets.to_vec(), srs: BTreeSet::new() };
        let elsewhere = SrId::new;
        for (name, taken, ways, expected) in [
            ("nothing runs", vec![], &shared, true),
            (
                "the host of the source has enough",
                vec![("a", "x", 0, elsewhere()), ("a", "y", 1, elsewhere())],
                &shared,
                false,
            ),
            (
                "another host does not count",
                vec![("b", "x", 0, elsewhere()), ("b", "y", 1, elsewhere())],
                &shared,
                true,
            ),
            (
                "its datastore has enough",
                vec![("b", "d", 0, elsewhere()), ("c", "d", 0, elsewhere()), ("e", "d", 1, elsewhere())],
                &shared,
                false,
            ),
            (
                "one target is full",
                vec![("b", "x", 0, elsewhere()), ("c", "x", 0, elsewhere())],
                &shared,
                true,
            ),
            (
                "both targets are full",
                vec![
                    ("b", "x", 0, elsewhere()),
                    ("c", "x", 0, elsewhere()),
                    ("e", "x", 1, elsewhere()),
                    ("f", "y", 1, elsewhere()),
                ],
                &shared,
                false,
            ),
            ("its SR has enough", vec![("b", "x", 0, nas), ("c", "y", 1, nas)], &shared, false),
            (
                "that SR does not count for a local one",
                vec![("b", "x", 0, nas), ("c", "y", 1, nas)],
                &own,
                true,
            ),
            (
                "one local SR is full",
                vec![("b", "x", 1, local[0]), ("c", "y", 1, local[0])],
                &Ways { targets: targets[..1].to_vec(), srs: BTreeSet::new() },
                false,
            ),
        ] {
            let mut places = Places::default();
            for (host, datastore, target, sr) in taken {
                places.take(&member(host, datastore), Some(targets[target].host), &BTreeSet::from([sr]));
            }
            assert_eq!(places.have_room(&member("a", "d"), caps, ways), expected, "{name}");
        }
        assert!(!Places::default().have_room(&member("a", "d"), caps, &Ways::default()), "nowhere to go");
    }

    #[test]
    fn a_mapping_tells_the_sr_by_name_or_id() {
        let known = [(SrId::new(), "nas".to_owned()), (SrId::new(), "fast".to_owned())];
        let map = |from: &str, to: &str| StorageMapping { from: from.into(), to: to.into() };
        for (name, storage, expected) in [
            ("no mapping", vec![], vec![]),
            ("by name", vec![map("d", "fast")], vec![known[1].0]),
            ("by id", vec![map("d", &known[0].0.to_string())], vec![known[0].0]),
            ("a star", vec![map("x", "fast"), map("*", "nas")], vec![known[0].0]),
            ("the exact one first", vec![map("*", "nas"), map("d", "fast")], vec![known[1].0]),
            ("one that is not there", vec![map("d", "gone")], vec![]),
        ] {
            let found = srs_of(&member("a", "d"), &storage, &known);
            assert_eq!(found, BTreeSet::<SrId>::from_iter(expected), "{name}");
        }
    }
}
